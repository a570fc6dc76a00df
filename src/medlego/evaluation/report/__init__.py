"""What people look at: a page, bars with intervals, a heat map of bricks."""

from medlego.evaluation.report.examples import Example, find_examples
from medlego.evaluation.report.page import write_page
from medlego.evaluation.report.pictures import plot_diagnosis, plot_report

__all__ = ["Example", "find_examples", "plot_diagnosis", "plot_report", "write_page"]
