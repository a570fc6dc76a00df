"""One reader per shape of data set: folder per class, table of labels, MedMNIST npz."""

from medlego.readers.building import guess_kind
from medlego.readers.folder import read_folder
from medlego.readers.manifest import read_manifest
from medlego.readers.npz import read_npz
from medlego.readers.table import TABLE_SUFFIXES, Table, read_table

__all__ = [
    "TABLE_SUFFIXES",
    "Table",
    "guess_kind",
    "read_folder",
    "read_manifest",
    "read_npz",
    "read_table",
]
