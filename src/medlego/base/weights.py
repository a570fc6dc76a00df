"""A named architecture and the file of its weights: safetensors only, from disk or timm's hub."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medlego.base.families import family_of
from medlego.base.mini import MINI_NAME, build_mini, mini_card, mini_weights
from medlego.errors import BaseError, raise_all
from medlego.support import unreachable

MAX_PROBLEMS = 5
"""Problems of one file that an error names; it counts the rest."""


def build(name: str) -> nn.Module:
    """An untrained module by name, without classifier.

    Raises:
        BaseError: an unknown name, or one of no family in the table.
    """
    if name == MINI_NAME:
        return build_mini()
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, [MINI_NAME, *timm.list_models()], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see timm.list_models('vit_*')"
        raise BaseError(f"base {name!r}: expected a timm model's name{hint}")
    if tag:
        _check_tag(name, architecture, tag)
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    family_of(module, f"base {name!r}")
    return module


@cache
def act_alike(first: str, second: str) -> bool:
    """Whether two names' modules do the same with the same tensors.

    A tag of pretrained weights changes nothing of that. Of other names both modules are built,
    without memory for tensors, and compared part by part: kinds of layers and their plain
    settings, such as the number of heads. A name that cannot be built is like no other.
    """
    one, other = (name.partition(".")[0] for name in (first, second))
    if one == other:
        return True
    try:
        with torch.device("meta"):
            return _parts(build(one)) == _parts(build(other))
    except BaseError:
        return False


def _parts(module: nn.Module) -> list[tuple[str, type, dict[str, Any]]]:
    plain = (bool, int, float, str)
    return [
        (path, type(part), {k: v for k, v in vars(part).items() if isinstance(v, plain)})
        for path, part in module.named_modules()
    ]


def _check_tag(name: str, architecture: str, tag: str) -> None:
    import timm

    known = (full.partition(".") for full in timm.list_pretrained(f"{architecture}*"))
    tags = [own for whose, _, own in known if whose == architecture]
    if tag not in tags:
        near = difflib.get_close_matches(tag, tags, n=1) or tags[:1]
        raise BaseError(
            f"base {name!r}: expected weights that timm knows for {architecture}, got {tag!r}; "
            f"try {'.'.join([architecture, *near])}"
        )


def known_facts(name: str, module: nn.Module) -> Mapping[str, Any]:
    """What is known of an architecture's weights: mean, std, licence, where they lie."""
    if name == MINI_NAME:
        return mini_card()
    return getattr(module, "pretrained_cfg", None) or {}


def find_weights(name: str, module: nn.Module) -> Path:
    """The embedded file, or the architecture's `model.safetensors` by huggingface_hub's cache.

    timm's own loader may fall back to a pickled file; this one never does.

    Raises:
        BaseError: none to be had.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    if name == MINI_NAME:
        return mini_weights()
    repository = known_facts(name, module).get("hf_hub_id")
    if not repository:
        raise BaseError(
            f"base {name!r}: expected weights on timm's hub, it has none; pass --base-weights FILE"
        )
    if isinstance(cached := try_to_load_from_cache(repository, "model.safetensors"), str):
        return Path(cached)
    problem = None if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if problem is None:
        try:
            return Path(hf_hub_download(repository, "model.safetensors"))
        except (OSError, ValueError) as error:
            problem = type(error).__name__
    raise BaseError(
        f"base {name!r}: expected its weights on timm's hub ({repository}), got none ({problem}); "
        "connect to a network or pass --base-weights FILE"
    )


def load_weights(path: Path, name: str, module: nn.Module) -> None:
    """Put a file's tensors into a module, cast up to float32; its classifiers are left out.

    Raises:
        BaseError: no such file, not safetensors, or not this architecture's tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    subject = f"base {name!r} from {path}"
    try:
        content = load_file(path)
    except FileNotFoundError:
        raise BaseError(f"{subject}: expected a safetensors file, found nothing there") from None
    except (SafetensorError, OSError) as error:
        raise BaseError(f"{subject}: expected a whole safetensors file ({error})") from error
    heads = tuple(f"{head}." for head in family_of(module).classifiers(module))
    tensors = {k: v.float() for k, v in content.items() if not k.startswith(heads)}
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    problems = _problems(tensors, shapes, name)
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems[MAX_PROBLEMS:] = [f"and {more} more; is this file another architecture's?"]
    raise_all(BaseError, subject, problems)
    module.load_state_dict(tensors)


def _problems(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], name: str
) -> list[str]:
    problems = []
    if missing := sorted(shapes.keys() - tensors.keys()):
        problems.append(f"tensors: expected {len(shapes)}, {_some(missing)} missing")
    if extra := sorted(tensors.keys() - shapes.keys()):
        problems.append(f"tensors: expected those of {name}, {_some(extra)} unknown to it")
    for key in sorted(shapes.keys() & tensors.keys()):
        if tensors[key].shape != shapes[key]:
            problems.append(
                f"{key}: expected {tuple(shapes[key])}, got {tuple(tensors[key].shape)}"
            )
        elif not torch.isfinite(tensors[key]).all():
            problems.append(f"{key}: expected finite numbers, got NaN or infinity")
    return problems


def _some(names: list[str]) -> str:
    first = ", ".join(names[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"
