"""One reader per shape of data set: folder per class, table of labels, MedMNIST npz."""

from medlego.data.readers.folder import read_folder
from medlego.data.readers.manifest import read_manifest
from medlego.data.readers.npz import read_npz
from medlego.data.readers.table import TABLE_SUFFIXES, TextTable, read_table

__all__ = [
    "TABLE_SUFFIXES",
    "TextTable",
    "read_folder",
    "read_manifest",
    "read_npz",
    "read_table",
]
