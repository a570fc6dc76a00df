"""The process that runs codecs, `python -m medlego.images.dicom.worker`.

A request has `syntax`, `plugin` and `options`, and a codestream behind it. An answer has `error`,
or `shape`, `dtype` and the library's warnings in `said`, with the pixels behind it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.uid import UID

from medlego.images.dicom.decoding import decode_compressed
from medlego.support import limit_resources, serve_requests

MEMORY_BYTES = 6 << 30
"""Address space of one worker, enough for the largest frame that is accepted."""


def decode(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """One request's answer; whatever goes wrong is named by its kind alone."""
    try:
        array, said = decode_compressed(
            content, UID(request["syntax"]), request["plugin"], request["options"]
        )
        answer = {"shape": array.shape, "dtype": array.dtype.str, "said": said}
        return answer, np.ascontiguousarray(array).tobytes()
    except Exception as error:
        return {"error": type(error).__name__}, b""


if __name__ == "__main__":
    limit_resources(MEMORY_BYTES, file_bytes=0)
    serve_requests(decode)
