"""The process that decodes uploads, `python -m medlego.serve.decode_worker`.

A request has `pixels` (the most that are decoded), `sizes` (sides in pixels of network inputs) and
`identify` (whether a person is shown whose image it is), and is followed by a file. An answer has
`error`, or `applied`, `sides` (height and width in the file) and `identity`, and is followed by
float32 pixels, (3, size, size) for each size. The file is held in memory, on no disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from medlego.errors import ImageError
from medlego.images import fit, is_dicom, read_identity, read_image
from medlego.support import limit_resources, serve_requests

MEMORY_BYTES = 6 << 30
"""Address space beyond what the interpreter and its libraries take."""
FILE_BYTES = 2 << 30


def decode(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """One request's answer; an error never names the file."""
    with _in_memory(content) as path:
        try:
            image = read_image(path, max_pixels=request["pixels"])
            fitted = [fit(image, size) for size in request["sizes"]]
            identity = read_identity(path) if request["identify"] and is_dicom(path) else {}
        except ImageError as error:
            return {"error": str(error).removeprefix(f"{path}: ")}, b""
        except Exception as error:  # of a library on hostile bytes
            return {
                "error": f"expected a whole image, got a damaged one ({type(error).__name__})"
            }, b""
    answer = {"applied": image.applied, "sides": image.pixels.shape[1:], "identity": identity}
    return answer, b"".join(pixels.contiguous().numpy().tobytes() for pixels in fitted)


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    if not hasattr(os, "memfd_create"):  # other systems than Linux
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield Path(file.name)
        return
    with os.fdopen(os.memfd_create("image"), "wb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _own_bytes() -> int:
    """Address space that this process takes already."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    torch.set_num_threads(1)
    limit_resources(_own_bytes() + MEMORY_BYTES, FILE_BYTES)
    serve_requests(decode)
