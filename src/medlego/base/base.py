"""The frozen vision transformer that bricks stand on: an architecture and its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medlego.base.families import family_of
from medlego.base.mini import MINI_NAME
from medlego.base.targets import DEFAULT_KINDS, Target, list_targets
from medlego.base.weights import build, find_weights, known_facts, load_weights
from medlego.errors import BaseError
from medlego.images import Image, fit
from medlego.support import FrozenModel, ShortRepr, cache_directory, write_atomically

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = tuple[float, float, float]
MAX_SIDE = 4096
"""Largest input side, in pixels."""


class BaseRef(FrozenModel):
    """How a brick names the base it stands on.

    `fingerprint` covers the backbone's tensors at their native input size, `name` what is done with
    them (see `act_alike`); `image_size` (pixels a side), `mean` and `std` say how images are handed
    to it.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    fingerprint: Digest
    image_size: Annotated[int, Field(ge=8, le=MAX_SIDE)]
    mean: Triple
    std: Annotated[Triple, Field(description="each above zero")]
    licence: Annotated[str, Field(max_length=200)] | None = None
    parameters: Annotated[int, Field(gt=0)]
    features: Annotated[int, Field(gt=0, le=65_536)]

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint[:12]}… at {self.image_size} px"


@dataclass(frozen=True, eq=False, repr=False)
class Base(ShortRepr):
    """A frozen backbone in evaluation mode, without classifier.

    `native` holds by name the tensors that were resampled to the input size, as they were before.
    """

    ref: BaseRef
    module: nn.Module
    native: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        name: str,
        module: nn.Module,
        facts: Mapping[str, Any] = MappingProxyType({}),
        *,
        image_size: int | None = None,
    ) -> Base:
        """Freeze a module of a family in the table `medlego.base.families`.

        Args:
            name: for the reference.
            module: at its native input size; it becomes the base's own.
            facts: `mean` and `std` (0.5 by default), `licence` or `license`.
            image_size: input side in pixels, a multiple of the patch; native by default.

        Raises:
            BaseError: another family, or a size that the patch does not divide.
        """
        family = family_of(module, f"base {name!r}")
        native, patch, _, width = family.dimensions(module)
        size = native if image_size is None else image_size
        if not patch <= size <= MAX_SIDE or size % patch:
            near = min(max(1, round(size / patch)), MAX_SIDE // patch) * patch
            raise BaseError(
                f"base {name!r}: expected an image size up to {MAX_SIDE} that its patch of {patch} "
                f"px divides, got {size}; try {near}"
            )
        tensors = module.state_dict()
        ref = BaseRef(
            name=name,
            fingerprint=fingerprint(tensors),
            image_size=size,
            mean=tuple(facts.get("mean") or (0.5, 0.5, 0.5)),
            std=tuple(facts.get("std") or (0.5, 0.5, 0.5)),
            licence=facts.get("license") or facts.get("licence"),
            parameters=sum(p.numel() for p in module.parameters()),
            features=width,
        )
        resampled = {key: tensors[key].clone() for key in family.resampled}
        if size != native:
            family.resize(module, size)
        return cls(ref, module.eval().requires_grad_(False), resampled)

    @classmethod
    def load(
        cls, name: str, *, weights: str | Path | None = None, image_size: int | None = None
    ) -> Base:
        """Build a base by name.

        Args:
            name: `mini` (embedded) or a timm model of a family in `medlego.base.families`.
            weights: a local safetensors file under timm's names; float16 is cast up. Without
                it the file comes from timm's hub, safetensors only.
            image_size: input side in pixels, a multiple of the patch; native by default.

        Raises:
            BaseError: an unknown or unfit architecture, a file that is not this
                architecture's, or no weights to be had.
        """
        module = build(name)
        file = find_weights(name, module) if weights is None else Path(weights)
        load_weights(file, name, module)
        return cls.of(name, module, known_facts(name, module), image_size=image_size)

    @classmethod
    def find(cls, ref: BaseRef, *, weights: str | Path | None = None) -> Base:
        """The base that a brick names: a given file, the embedded one, the local cache, the hub.

        Raises:
            BaseError: not found, or found with another fingerprint.
        """
        if weights is None and ref.name != MINI_NAME:
            cached = _cached(ref.fingerprint)
            weights = cached if cached.is_file() else None
        base = cls.load(ref.name, weights=weights, image_size=ref.image_size)
        if base.ref.fingerprint != ref.fingerprint:
            raise BaseError(
                f"base {ref.name!r}: expected fingerprint {ref.fingerprint[:12]}…, got "
                f"{base.ref.fingerprint[:12]}…; give the file these bricks were trained on"
            )
        return base

    def keep(self) -> Path:
        """Store the tensors in the local cache under the fingerprint, so that `find` sees them."""
        from safetensors.torch import save

        path = _cached(self.ref.fingerprint)
        if self.ref.name != MINI_NAME and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = self.module.state_dict() | dict(self.native)
            write_atomically(path, save({k: v.contiguous() for k, v in tensors.items()}))
        return path

    def targets(self, kinds: Iterable[str] = DEFAULT_KINDS, stem: int = 0) -> tuple[Target, ...]:
        """Adaptable linear maps; see `medlego.base.targets.list_targets`."""
        return list_targets(self.module, kinds, stem)

    def prepare(self, image: Image) -> Tensor:
        """An image as this base's input before normalisation, (3, size, size) in [0, 1]."""
        return fit(image, self.ref.image_size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Shift and scale (N, 3, size, size) pixels in [0, 1] by the base's mean and std."""
        mean = pixels.new_tensor(self.ref.mean).view(1, 3, 1, 1)
        std = pixels.new_tensor(self.ref.std).view(1, 3, 1, 1)
        return (pixels - mean) / std


BaseLike = Base | str
"""A base, or its name for `Base.load`."""


def open_base(base: BaseLike) -> Base:
    """A base as it is, or by name.

    Raises:
        BaseError: something else, or as `Base.load`.
    """
    if isinstance(base, Base):
        return base
    if not isinstance(base, str):
        raise BaseError(f"base: expected a Base or its name, got {type(base).__name__}")
    return Base.load(base)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the sorted tensors' names, shapes and little-endian float32 bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name}\0{shape}\0".encode())
        digest.update(tensor.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _cached(digest: str) -> Path:
    return cache_directory() / "bases" / f"{digest}.safetensors"
