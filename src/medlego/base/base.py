"""The frozen vision transformer that bricks stand on, known by a fingerprint of its tensors."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medlego.base.mini import MINI_NAME, build_mini, mini_card, mini_weights
from medlego.base.targets import DEFAULT_KINDS, Target, list_targets
from medlego.errors import BaseError, raise_all
from medlego.images import Image, fit
from medlego.support import cache_directory, write_atomically

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = tuple[float, float, float]


class BaseRef(BaseModel):
    """How a brick names the base it stands on.

    `fingerprint` covers the backbone's tensors at their native input size; `image_size`
    (pixels a side), `mean` and `std` say how images are handed to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    fingerprint: Digest
    image_size: Annotated[int, Field(ge=8, le=4096)]
    mean: Triple
    std: Annotated[Triple, Field(description="each above zero")]
    licence: Annotated[str, Field(max_length=200)] | None = None
    parameters: Annotated[int, Field(gt=0)]
    features: Annotated[int, Field(gt=0, le=65_536)]


@dataclass(frozen=True, eq=False)
class Base:
    """A frozen backbone in evaluation mode, without classifier.

    `native_pos_embed` is the position embedding before it was resampled to the input size.
    """

    ref: BaseRef
    module: nn.Module
    native_pos_embed: Tensor

    @classmethod
    def load(
        cls, name: str, *, weights: str | Path | None = None, image_size: int | None = None
    ) -> Base:
        """Build a base by name.

        Args:
            name: `mini` (embedded) or a timm vision transformer with fused `attn.qkv`.
            weights: a local safetensors file under timm's names; float16 is cast up. Without
                it the file comes from timm's hub, safetensors only.
            image_size: input side in pixels, a multiple of the patch; native by default.

        Raises:
            BaseError: an unknown or unfit architecture, a file that is not this
                architecture's, or no weights to be had.
        """
        if name == MINI_NAME and weights is None:
            weights = mini_weights()
        model = _build(name)
        file = _fetch_from_hub(name, model) if weights is None else Path(weights)
        tensors = _read_weights(file, name, model)
        return _finish(name, model, tensors, image_size)

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
            tensors = self.module.state_dict() | {"pos_embed": self.native_pos_embed}
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


def features(module: nn.Module, inputs: Tensor) -> Tensor:
    """Pooled features of normalised inputs.

    Args:
        module: a base's module or an adapted copy of it.
        inputs: (N, 3, size, size), normalised.

    Returns:
        (N, features), what a head reads.
    """
    result: Tensor = module.forward_head(module.forward_features(inputs), pre_logits=True)  # type: ignore[operator]
    return result


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the sorted tensors' names, shapes and little-endian float32 bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name}\0{shape}\0".encode())
        digest.update(tensor.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _build(name: str) -> nn.Module:
    if name == MINI_NAME:
        return build_mini()
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see timm.list_models('vit_*')"
        raise BaseError(f"base {name!r}: expected a timm model's name{hint}")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    fused = isinstance(model, VisionTransformer) and all(
        isinstance(getattr(getattr(b, "attn", None), "qkv", None), nn.Linear) for b in model.blocks
    )
    if not fused or getattr(model, "pos_embed", None) is None:
        raise BaseError(
            f"base {name!r}: expected a vision transformer with fused attn.qkv and a position "
            f"embedding (vit_*, deit_*), got {type(model).__name__}; choose one of those"
        )
    return model


def _fetch_from_hub(name: str, model: nn.Module) -> Path:
    """The architecture's `model.safetensors` through huggingface_hub and its cache.

    timm's own loader may fall back to a pickled file; this one never does.
    """
    from huggingface_hub import hf_hub_download

    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    repository = config.get("hf_hub_id")
    if not repository:
        raise BaseError(
            f"base {name!r}: expected weights on timm's hub, it has none; pass --base-weights FILE"
        )
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, ValueError) as error:
        raise BaseError(
            f"base {name!r}: expected its weights on timm's hub ({repository}), got none "
            f"({type(error).__name__}); connect to a network or pass --base-weights FILE"
        ) from error


def _read_weights(path: Path, name: str, model: nn.Module) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    subject = f"base {name!r} from {path}"
    try:
        found = load_file(path)
    except FileNotFoundError:
        raise BaseError(f"{subject}: expected a safetensors file, found nothing there") from None
    except (SafetensorError, OSError) as error:
        raise BaseError(f"{subject}: expected a whole safetensors file ({error})") from error
    heads = _classifiers(model)
    tensors = {k: v.float() for k, v in found.items() if not k.startswith(heads)}
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    problems = []
    if missing := sorted(wanted.keys() - tensors.keys()):
        problems.append(f"tensors: expected {len(wanted)}, {_some(missing)} missing")
    if extra := sorted(tensors.keys() - wanted.keys()):
        problems.append(f"tensors: expected those of {name}, {_some(extra)} unknown to it")
    for key in sorted(wanted.keys() & tensors.keys()):
        if tuple(tensors[key].shape) != wanted[key]:
            problems.append(f"{key}: expected {wanted[key]}, got {tuple(tensors[key].shape)}")
        elif not torch.isfinite(tensors[key]).all():
            problems.append(f"{key}: expected finite numbers, got NaN or infinity")
    if len(problems) > 5:
        problems[5:] = [f"and {len(problems) - 5} more; is this file another architecture's?"]
    raise_all(BaseError, subject, problems)
    return tensors


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    config: dict[str, Any] = getattr(model, "default_cfg", None) or {}
    names = config.get("classifier") or "head"
    return tuple(f"{n}." for n in ([names] if isinstance(names, str) else names))


def _finish(
    name: str, model: nn.Module, tensors: Mapping[str, Tensor], image_size: int | None
) -> Base:
    model.load_state_dict(dict(tensors))
    embedding: Any = model.patch_embed
    patch, native = int(embedding.patch_size[0]), int(embedding.img_size[0])
    size = native if image_size is None else image_size
    if size < patch or size % patch:
        raise BaseError(
            f"base {name!r}: expected an image size that its patch of {patch} px divides, "
            f"got {size}; try {max(patch, round(size / patch) * patch)}"
        )
    ref = _reference(name, model, fingerprint(tensors), size)
    if size != native:
        model.set_input_size(img_size=(size, size))  # type: ignore[operator]
    return Base(ref, model.eval().requires_grad_(False), tensors["pos_embed"].clone())


def _reference(name: str, model: nn.Module, digest: str, size: int) -> BaseRef:
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    if name == MINI_NAME:
        config = mini_card()
    return BaseRef(
        name=name,
        fingerprint=digest,
        image_size=size,
        mean=tuple(config.get("mean") or (0.5, 0.5, 0.5)),
        std=tuple(config.get("std") or (0.5, 0.5, 0.5)),
        licence=config.get("license") or config.get("licence"),
        parameters=sum(p.numel() for p in model.parameters()),
        features=int(model.num_features),  # type: ignore[arg-type]
    )


def _cached(digest: str) -> Path:
    return cache_directory() / "bases" / f"{digest}.safetensors"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
