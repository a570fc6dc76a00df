"""Tools that know nothing of medicine or models: files, strict JSON and TOML, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support.lazy import load_lazily

if TYPE_CHECKING:
    from medlego.support.characters import is_plain, is_unseen
    from medlego.support.documents import FrozenModel, left_out, read_document, read_fields, refuse
    from medlego.support.download import ByteProgress, download
    from medlego.support.fields import field_problems
    from medlego.support.files import (
        TEMPORARY,
        cache_directory,
        leftovers,
        put_in_place,
        read_expected,
        scratch_beside,
        write_atomically,
    )
    from medlego.support.frames import data_frame
    from medlego.support.html import html_table
    from medlego.support.network import unreachable
    from medlego.support.plain import plain, plain_fields
    from medlego.support.processes import Pool, WorkerError, limit_resources, serve_requests
    from medlego.support.progress import Progress, silent
    from medlego.support.safetensors_file import (
        MAX_HEADER_BYTES,
        SafetensorsFile,
        safetensors_bytes,
        tensor_problems,
    )
    from medlego.support.strict_json import parse_object, shown, spell
    from medlego.support.tables import csv_text, table_suffix
    from medlego.support.threads import one_thread
    from medlego.support.toml import load_tables, load_toml, parse_tables
    from medlego.support.values import NoPickle, ShortRepr, shortened

__all__ = [
    "MAX_HEADER_BYTES",
    "TEMPORARY",
    "ByteProgress",
    "FrozenModel",
    "NoPickle",
    "Pool",
    "Progress",
    "SafetensorsFile",
    "ShortRepr",
    "WorkerError",
    "cache_directory",
    "csv_text",
    "data_frame",
    "download",
    "field_problems",
    "html_table",
    "is_plain",
    "is_unseen",
    "left_out",
    "leftovers",
    "limit_resources",
    "load_lazily",
    "load_tables",
    "load_toml",
    "one_thread",
    "parse_object",
    "parse_tables",
    "plain",
    "plain_fields",
    "put_in_place",
    "read_document",
    "read_expected",
    "read_fields",
    "refuse",
    "safetensors_bytes",
    "scratch_beside",
    "serve_requests",
    "shortened",
    "shown",
    "silent",
    "spell",
    "table_suffix",
    "tensor_problems",
    "unreachable",
    "write_atomically",
]

load_lazily(__name__)
