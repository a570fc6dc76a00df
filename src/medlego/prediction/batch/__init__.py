"""Many images: any number of files into one table of answers, whatever ends the job meanwhile."""

from medlego.prediction.batch.run import Summary, predict_many

__all__ = ["Summary", "predict_many"]
