"""Tables for people in notebooks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def data_frame(table: pl.DataFrame) -> Any:
    """A table as a pandas data frame where pandas is installed, else as it is."""
    if find_spec("pandas") is None:
        return table
    import pandas as pd

    # not `to_pandas`, which asks for pyarrow
    return pd.DataFrame({column.name: column.to_list() for column in table})
