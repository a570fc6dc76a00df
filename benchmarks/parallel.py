"""A table's lines side by side: forked processes of one thread each, which share the cache."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")
_held: list[Any] = []


def in_processes(
    function: Callable[[_Item], _Found], items: Sequence[_Item], workers: int
) -> Iterator[_Found]:
    """Results in the items' order, as they come.

    Args:
        function: any closure, since processes are forked; its results must be picklable.
        items: what it is called with, one at a time.
        workers: processes at once.
    """
    torch.set_num_threads(1)  # before the fork: a forked OpenMP pool hangs
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, initializer=_hold, initargs=(function, items)) as pool:
        yield from pool.imap(_call, range(len(items)))


def _hold(function: Callable[[Any], Any], items: Sequence[Any]) -> None:
    _held[:] = [function, items]


def _call(number: int) -> Any:
    function, items = _held
    return function(items[number])
