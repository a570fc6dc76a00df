"""Linear algebra on one thread, where results must repeat bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's CPU work on one thread inside the block, then restore the setting.

    QR and SVD repeat bit for bit on one thread, but not across thread counts; at a merge's
    sizes one thread is as fast (docs/maths.md, section 6).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
