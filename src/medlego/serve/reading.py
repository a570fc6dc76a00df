"""Uploads to images, decoded in other processes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image as Pillow

from medlego.errors import ImageError
from medlego.images import Image
from medlego.serve.limits import Limits
from medlego.workers import Pool, WorkerError

START_S = 120.0
"""For a process to import what it needs."""


@dataclass(frozen=True, eq=False)
class Fitted(Image):
    """An image that may be fitted to another size; `sides` are height and width in its file."""

    sides: tuple[int, int] = (0, 0)


class Readers:
    """A fixed number of processes that decode; one that dies or is killed is replaced."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = Pool("medlego.serve.reader")
        self._threads = ThreadPoolExecutor(limits.readers, thread_name_prefix="medlego-reading")

    async def read(self, content: bytes, size: int | None = None) -> Fitted:
        """Decode an upload.

        Args:
            content: a file that `medlego.images.read_image` reads.
            size: side in pixels of the network input to fit it to; None leaves it as it is.

        Raises:
            ImageError: no image, damaged, too large, or it took too long; names no file.
        """
        loop = asyncio.get_running_loop()
        limit_s = self._limits.decode_s
        return await loop.run_in_executor(self._threads, self._read, content, size, limit_s)

    async def start(self) -> None:
        """Have every process ready."""
        picture = BytesIO()
        Pillow.new("L", (1, 1)).save(picture, "PNG")
        loop, asked = asyncio.get_running_loop(), (picture.getvalue(), None, START_S)
        await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, self._read, *asked)
                for _ in range(self._limits.readers)
            )
        )

    def close(self) -> None:
        """End the processes; what waits is not decoded any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pool.close()

    def _read(self, content: bytes, size: int | None, limit_s: float) -> Fitted:
        request = {"pixels": self._limits.pixels, "size": size}
        try:
            answer, body = self._pool.ask(request, content, limit_s)
        except WorkerError as error:
            raise ImageError(
                f"expected an image that decodes within limits, got another ({error}); "
                "make it smaller or fetch it again"
            ) from None
        if "error" in answer:
            raise ImageError(answer["error"])
        spacing = answer["spacing_mm"]
        return Fitted(
            torch.from_numpy(np.frombuffer(bytearray(body), np.float32).reshape(answer["shape"])),
            tuple(answer["applied"]),
            None if spacing is None else (spacing[0], spacing[1]),
            (answer["sides"][0], answer["sides"][1]),
        )
