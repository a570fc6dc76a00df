"""The labelled images of one task: task, labels, samples, readers, leak checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.data.align import align
    from medlego.data.kinds import KINDS, find_kind, guess_kind
    from medlego.data.label_map import LabelMap
    from medlego.data.label_matching import match_labels
    from medlego.data.leaks.check import LeakPair, LeakReport, check_leaks
    from medlego.data.leaks.fingerprints import Fingerprints, ImagePlace
    from medlego.data.leaks.sidecar import Memory, SiteKey
    from medlego.data.load import (
        AT,
        DatasetLike,
        load_dataset,
        open_dataset,
        table_and_folder,
        task_stem,
    )
    from medlego.data.polarity import guess_positive, positive_line
    from medlego.data.readers.apart import parquet_header, try_batches, unreadable_table
    from medlego.data.readers.columns import Columns, usual_name
    from medlego.data.readers.csv_file import open_csv
    from medlego.data.readers.labels import Uncertain, as_uncertain
    from medlego.data.readers.table import TABLE_SUFFIXES, read_table
    from medlego.data.samples import (
        SPLITS,
        ArrayImages,
        Dataset,
        ImageSource,
        Samples,
        TaskHints,
        describe,
        fingerprint,
        join,
    )
    from medlego.data.synthetic import (
        MAX_SIZE,
        MIN_SIZE,
        SYNTHETIC_TASKS,
        synthetic_dataset,
        synthetic_image,
    )
    from medlego.data.synthetic.sample_folder import write_samples
    from medlego.data.task import Plain, Task, Text, as_task_name

__all__ = [
    "AT",
    "KINDS",
    "MAX_SIZE",
    "MIN_SIZE",
    "SPLITS",
    "SYNTHETIC_TASKS",
    "TABLE_SUFFIXES",
    "ArrayImages",
    "Columns",
    "Dataset",
    "DatasetLike",
    "Fingerprints",
    "ImagePlace",
    "ImageSource",
    "LabelMap",
    "LeakPair",
    "LeakReport",
    "Memory",
    "Plain",
    "Samples",
    "SiteKey",
    "Task",
    "TaskHints",
    "Text",
    "Uncertain",
    "align",
    "as_task_name",
    "as_uncertain",
    "check_leaks",
    "describe",
    "find_kind",
    "fingerprint",
    "guess_kind",
    "guess_positive",
    "join",
    "load_dataset",
    "match_labels",
    "open_csv",
    "open_dataset",
    "parquet_header",
    "positive_line",
    "read_table",
    "synthetic_dataset",
    "synthetic_image",
    "table_and_folder",
    "task_stem",
    "try_batches",
    "unreadable_table",
    "usual_name",
    "write_samples",
]

load_lazily(__name__)
