"""The notebook runs from top to bottom, and is kept without what it shows."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"


def test_the_notebook_is_kept_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.filterwarnings("default")  # of the kernel's own packages
def test_the_notebook_runs(tmp_path, monkeypatch):
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = tmp_path / "work"
    place.mkdir()
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}}
    )
    client.execute()
    shown = "".join(
        str(output.get("data", output.get("text")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "Brick synthetic-mri" in shown
    assert "Scores on the split test" in shown
    assert shown.count("image/png") == 2
    assert (place / "report.html").stat().st_size > 10_000
