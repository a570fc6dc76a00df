"""The process that runs codecs: `python -m medlego.dicom.worker`, spoken to through its pipes.

A request is a line of JSON (`syntax`, `plugin`, `options`, `bytes`) and that many bytes of
codestream. An answer is a line of JSON, either `error`, or `shape`, `dtype` and `bytes`, and that
many bytes of pixels. The end of the requests ends the process.
"""

from __future__ import annotations

import json
import os
import sys
from typing import BinaryIO

import numpy as np
from pydicom.uid import UID

from medlego.dicom.decoding import decode_compressed

MEMORY_BYTES = 6 << 30
"""Address space of one worker, enough for the largest frame that is accepted."""


def limit_resources() -> None:
    """Cap memory and forbid files and core dumps, where the system can."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"])
        body = b""
        try:
            array = decode_compressed(
                content, UID(request["syntax"]), request["plugin"], request["options"]
            )
            body = np.ascontiguousarray(array).tobytes()
            answer = {"shape": array.shape, "dtype": array.dtype.str, "bytes": len(body)}
        except Exception as error:
            answer = {"error": type(error).__name__}
        answers.write(json.dumps(answer).encode() + b"\n" + body)
        answers.flush()


def main() -> None:
    """Keep the pipe to the caller apart from what codecs print, then serve."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_resources()
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
