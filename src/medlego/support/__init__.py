"""Tools that know nothing of medicine or models: files, strict JSON and TOML, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support.lazy import load_lazily

if TYPE_CHECKING:
    from medlego.support.documents import FrozenModel
    from medlego.support.download import ByteProgress, download
    from medlego.support.files import (
        cache_directory,
        put_in_place,
        read_bounded,
        read_expected,
        write_atomically,
    )
    from medlego.support.processes import Pool, WorkerError, limit_resources, work
    from medlego.support.progress import Progress, silent
    from medlego.support.safetensors_file import (
        MAX_HEADER_BYTES,
        entry_problems,
        read_header,
        read_tensors,
        tensor_problems,
    )
    from medlego.support.strict_json import (
        check_format,
        field_problems,
        is_plain,
        parse_object,
        shown,
        spell,
        text_problems,
    )
    from medlego.support.threads import one_thread
    from medlego.support.toml import load_toml
    from medlego.support.values import MAX_SHOWN, NoPickle, ShortRepr

__all__ = [
    "MAX_HEADER_BYTES",
    "MAX_SHOWN",
    "ByteProgress",
    "FrozenModel",
    "NoPickle",
    "Pool",
    "Progress",
    "ShortRepr",
    "WorkerError",
    "cache_directory",
    "check_format",
    "download",
    "entry_problems",
    "field_problems",
    "is_plain",
    "limit_resources",
    "load_lazily",
    "load_toml",
    "one_thread",
    "parse_object",
    "put_in_place",
    "read_bounded",
    "read_expected",
    "read_header",
    "read_tensors",
    "shown",
    "silent",
    "spell",
    "tensor_problems",
    "text_problems",
    "work",
    "write_atomically",
]

load_lazily(__name__)
