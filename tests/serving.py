"""A small generalist on disk, files of every kind, and the service around them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image as Pillow
from pydicom.uid import JPEG2000Lossless

from dicomfiles import as_bytes, compress, dataset
from factories import TIMM_NAME, make_brick, save_weights, with_calibration
from medlego.base import Base, Inputs
from medlego.bricks import Brick, fit_profile
from medlego.data import ArrayImages
from medlego.generalist import assemble
from medlego.serve import Service, ServiceLimits, make_app
from medlego.serve.decode_worker import decode
from medlego.serve.decoding import Decoders
from medlego.train.profiles import measure_features
from waiting import PATIENCE_S, wait_until

SMALL = ServiceLimits(
    decoders=1,
    decode_s=PATIENCE_S,
    image_bytes=1 << 20,
    request_bytes=3 << 20,
    held_bytes=8 << 20,
    images=4,
)
OWN = "http://127.0.0.1"
KINDS = {"greys": "multiclass", "found": "binary", "signs": "multilabel"}


@dataclass(frozen=True)
class Place:
    """A folder with a base's weights and the bricks on it."""

    folder: Path
    weights: Path
    base: Base
    bricks: tuple[Brick, ...]

    def generalist(self, name: str, count: int = 3, mode: str = "routed") -> Path:
        """A new directory of the first bricks."""
        path = self.folder / name
        assemble(self.bricks[:count], mode=mode).save(path)
        return path


def make_place(folder: Path) -> Place:
    """Calibrated bricks of three kinds, whose profiles know images like `picture`."""
    weights = save_weights(folder / "base.safetensors")
    base = Base.load(TIMM_NAME, weights=weights, image_size=32)
    shown = ArrayImages(np.stack([picture(seed) for seed in range(100, 164)]))
    profile = fit_profile(measure_features(base, Inputs(shown, base)))
    bricks = []
    for number, (name, kind) in enumerate(KINDS.items()):
        brick = with_calibration(make_brick(name, number, kind=kind, base=base))
        task = brick.task.model_copy(update={"modality": "OT", "body_part": "CHEST"})
        bricks.append(replace(brick, task=task, profile=profile))
    return Place(folder, weights, base, tuple(bricks))


def picture(seed: int = 0, side: int = 16) -> np.ndarray:
    """An image like those that the bricks' profiles are of, uint8."""
    generator = np.random.default_rng(seed)
    return generator.integers(70, 110, (side, side + 4)).astype(np.uint8)


def png(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """A file of an array, in any format that Pillow writes."""
    stream = BytesIO()
    Pillow.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def nifti(volume: np.ndarray) -> bytes:
    """A NIfTI file."""
    return nibabel.Nifti1Image(volume, np.eye(4)).to_bytes()


def every_format() -> dict[str, bytes]:
    """One file of each kind that the service reads."""
    return {
        "png": png(picture(0)),
        "colour png": png(np.stack([picture(n) for n in range(3)], axis=-1)),
        "16 bit png": png(picture(1).astype(np.uint16) * 257),
        "jpeg": png(picture(2), "JPEG", quality=95),
        "tiff": png(picture(3), "TIFF"),
        "dicom": as_bytes(dataset(picture(4), PatientName="DOE^JOHN")),
        "dicom, jpeg 2000": as_bytes(compress(dataset(picture(5, 64)), JPEG2000Lossless)),
        "nifti": nifti(np.stack([picture(n) for n in range(4)], axis=-1)),
    }


def unknown() -> bytes:
    """A file of an image out of every brick's distribution."""
    return png(np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8))


class _Here:
    """In a pool's place: answers in this process."""

    def ask(self, request: dict[str, Any], content: bytes, _timeout_s: float) -> Any:
        return decode(request, content)

    def close(self) -> None: ...


def here_decoders() -> Decoders:
    """Decode in this process: for tests of anything else."""
    decoders = Decoders(SMALL)
    pool: Any = _Here()
    decoders._pool = pool
    return decoders


def here(place: Place, directory: Path, **more: Any) -> Service:
    """A service that decodes in this process."""
    more = {"limits": SMALL, "decoders": here_decoders(), "poll_s": 3600.0, **more}
    return Service(directory, base_weights=place.weights, **more)


@contextmanager
def asking(service: Service, token: str | None = None, **more: Any) -> Iterator[TestClient]:
    """A client of a started service, without a socket."""
    with TestClient(make_app(service, token=token, **more), base_url=OWN) as client:
        yield client


def files(*contents: bytes, name: str = "x.png") -> list[tuple[str, tuple[str, bytes]]]:
    """A form's images."""
    return [("images", (name, content)) for content in contents]


@contextmanager
def on_a_socket(
    service: Service, token: str | None = None, *, proxies: Sequence[str] = (), **more: Any
) -> Iterator[tuple[int, Any]]:
    """The service on a free port of this machine, and uvicorn's server, which ends with the block.

    The server runs in a thread, where signals are not seen.
    """
    from medlego.serve import bound
    from medlego.serve.server import make_server

    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        server = make_server(make_app(service, token=token, **more), service.limits, proxies)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
        )
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        try:
            yield port, server
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def raw(port: int, content: bytes) -> bytes:
    """Everything that the service says to bytes sent as they are, until it closes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        sock.sendall(content)
        answer = b""
        while part := sock.recv(65536):
            answer += part
        return answer
