"""The assembled model on disk and through time: lineage, edits, undo, proof, trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.generalist.choices import default_slope
    from medlego.generalist.diff import Difference, difference
    from medlego.generalist.directory import Mark, editing, read_mark
    from medlego.generalist.document import DOCUMENT, load_document, named_digests
    from medlego.generalist.edit import add, remove, update
    from medlego.generalist.generalist import (
        Generalist,
        GeneralistLike,
        assemble,
        open_generalist,
        with_first_entry,
    )
    from medlego.generalist.lineage import (
        Entry,
        Lineage,
        Stamp,
        append_entry,
        stale_head,
        state,
        utc_now,
        with_gate,
    )
    from medlego.generalist.past_states import PastStates
    from medlego.generalist.rebuilding import assembled_like, specialist
    from medlego.generalist.trust import Trust
    from medlego.generalist.undo import rebuild_state, redo, undo
    from medlego.generalist.verify import verify
    from medlego.generalist.withdraw import prepared_beside, withdraw

__all__ = [
    "DOCUMENT",
    "Difference",
    "Entry",
    "Generalist",
    "GeneralistLike",
    "Lineage",
    "Mark",
    "PastStates",
    "Stamp",
    "Trust",
    "add",
    "append_entry",
    "assemble",
    "assembled_like",
    "default_slope",
    "difference",
    "editing",
    "load_document",
    "named_digests",
    "open_generalist",
    "prepared_beside",
    "read_mark",
    "rebuild_state",
    "redo",
    "remove",
    "specialist",
    "stale_head",
    "state",
    "undo",
    "update",
    "utc_now",
    "verify",
    "with_first_entry",
    "with_gate",
    "withdraw",
]

load_lazily(__name__)
