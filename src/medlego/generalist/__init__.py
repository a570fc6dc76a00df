"""The assembled model on disk and through time: lineage, edits, undo, proof, trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.generalist.diff import Difference, difference
    from medlego.generalist.directory import DOCUMENT, Mark, editing, load_document, read_mark
    from medlego.generalist.edit import add, remove, update
    from medlego.generalist.generalist import (
        Generalist,
        assemble,
        assembled_like,
        bare_base,
        begun,
        default_slope,
        specialist,
    )
    from medlego.generalist.lineage import (
        Entry,
        Lineage,
        Stamp,
        extended,
        moment,
        stale_head,
        state,
        with_gate,
    )
    from medlego.generalist.past_states import PastStates
    from medlego.generalist.trust import Trust
    from medlego.generalist.undo import redo, restored, undo
    from medlego.generalist.verify import verify
    from medlego.generalist.withdraw import exposed, withdraw

__all__ = [
    "DOCUMENT",
    "Difference",
    "Entry",
    "Generalist",
    "Lineage",
    "Mark",
    "PastStates",
    "Stamp",
    "Trust",
    "add",
    "assemble",
    "assembled_like",
    "bare_base",
    "begun",
    "default_slope",
    "difference",
    "editing",
    "exposed",
    "extended",
    "load_document",
    "moment",
    "read_mark",
    "redo",
    "remove",
    "restored",
    "specialist",
    "stale_head",
    "state",
    "undo",
    "update",
    "verify",
    "with_gate",
    "withdraw",
]

load_lazily(__name__)
