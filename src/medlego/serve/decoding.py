"""Uploads to images, decoded in other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import torch
from PIL import Image as Pillow

from medlego.errors import ImageError
from medlego.images import Image
from medlego.serve.limits import ServiceLimits
from medlego.support import Pool, WorkerError

START_S = 120.0
"""For a process to import what it needs."""


@dataclass(frozen=True, eq=False, repr=False)
class FittedImage(Image):
    """An image fitted to a network input; `sides` are height and width in its file.

    `identity` says whose image it is, where that was asked for: to be shown, and never kept.
    """

    sides: tuple[int, int] = (0, 0)
    identity: Mapping[str, str] = field(default_factory=dict, repr=False)


class Decoders:
    """A fixed number of processes that decode; one that dies or is killed is replaced."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._pool = Pool("medlego.serve.decode_worker")
        self._threads = ThreadPoolExecutor(limits.decoders, thread_name_prefix="medlego-decoding")

    async def decode(
        self, content: bytes, sizes: Sequence[int], *, identify: bool = False
    ) -> list[FittedImage]:
        """Decode an upload once.

        Args:
            content: a file that `medlego.images.read_image` reads.
            sizes: sides in pixels of the network inputs to fit it to, an image each.
            identify: say whose image a DICOM file is.

        Raises:
            ImageError: no image, damaged, too large, or it took too long; names no file.
        """
        return await self._run(content, sizes, self._limits.decode_s, identify)

    async def start(self) -> None:
        """Have every process ready."""
        picture = BytesIO()
        Pillow.new("L", (1, 1)).save(picture, "PNG")
        content, count = picture.getvalue(), self._limits.decoders
        await asyncio.gather(*(self._run(content, (1,), START_S) for _ in range(count)))

    def close(self) -> None:
        """End the processes; what waits or is under way is no longer decoded."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.kill()
        self._threads.shutdown()

    def kill(self) -> None:
        """End the processes alone."""
        self._pool.close()

    def _run(
        self, content: bytes, sizes: Sequence[int], limit_s: float, identify: bool = False
    ) -> asyncio.Future[list[FittedImage]]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, self._decode, content, sizes, limit_s, identify)

    def _decode(
        self, content: bytes, sizes: Sequence[int], limit_s: float, identify: bool
    ) -> list[FittedImage]:
        request = {"pixels": self._limits.pixels, "sizes": sizes, "identify": identify}
        try:
            answer, body = self._pool.ask(request, content, limit_s)
        except WorkerError as error:
            raise ImageError(
                f"expected an image that can be decoded within limits, but {error}; "
                "make it smaller or export it again"
            ) from None
        if "error" in answer:
            raise ImageError(answer["error"])
        values = torch.frombuffer(bytearray(body), dtype=torch.float32)
        parts = torch.split(values, [3 * size**2 for size in sizes])
        applied, (height, width) = tuple(answer["applied"]), answer["sides"]
        about: dict[str, Any] = {"sides": (height, width), "identity": answer["identity"]}
        return [
            FittedImage(part.reshape(3, size, size), applied, **about)
            for part, size in zip(parts, sizes, strict=True)
        ]
