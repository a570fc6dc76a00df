"""PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from medlego.base import TARGET_KINDS, Base, Target, by_module, module_rows
from medlego.bricks import Brick, Card
from medlego.data import Task
from medlego.errors import InteropError, raise_all
from medlego.exchange.formats.shared import (
    LoraPair,
    make_brick,
    new_folder,
    read_adapter_tensors,
    write_folder,
)
from medlego.support import parse_object, read_expected, shown

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20
PREFIX = "base_model.model."
_HEADS = ("head", "classifier", "fc", "score")
_HEAD = re.compile(rf"(?:.+\.)?(?:{'|'.join(_HEADS)})\.(weight|bias)")
_WORDS = {
    "q": r"attn\.qkv|(.*\.)?(q|query|q_proj)",
    "k": r"attn\.qkv|(.*\.)?(k|key|k_proj)",
    "v": r"attn\.qkv|(.*\.)?(v|value|v_proj)",
    "proj": r"attn\.proj|attention\.output\.dense|attention\.o_proj",
    "fc1": r"mlp\.fc1|intermediate\.dense",
    "fc2": r"mlp\.fc2|output\.dense",
}
"""What timm calls each kind of target in a block, and transformers' ViT before and since its 5."""
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layer|layers)\.(\d+)\.(.+)$")
_ELSEWHERE = {
    "use_dora": "DoRA scales every column of the weight, which is no low-rank delta",
    "use_qalora": "QALoRA pools its inputs",
    "fan_in_fan_out": "its weights are transposed, as in GPT-2's Conv1D",
    "layer_replication": "it repeats layers of the base",
    "trainable_token_indices": "it trains embeddings",
    "lora_bias": "it trains biases of its own",
    "megatron_config": "it is split over devices",
    "alora_invocation_tokens": "it is switched on by tokens",
    "target_parameters": "it adapts bare parameters",
    "arrow_config": "it routes between adapters",
    "use_bdlora": "its factors are block-diagonal",
    "velora_config": "its factors are compressed",
}
"""Settings that must be off, and why."""
_CHANGES_BASE = ("pissa", "olora", "loftq", "corda", "eva", "lora_ga")
"""Ways to initialise that may also change the base's weights."""


def import_peft(folder: str | Path, base: Base, task: Task) -> Brick:
    """Read a PEFT LoRA adapter of a vision transformer as a brick.

    The base may be timm's (fused `attn.qkv`) or transformers' ViT (separate query, key and value,
    whose weights timm holds fused). α/r, or α/√r with rsLoRA, is folded in, and the delta brought
    into canonical form, so outputs agree to rounding, not to the bit.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors`.
        base: the model that the adapter was trained on, in timm's form.
        task: labels in the order of the adapter's classifier, which must be among its
            `modules_to_save`.

    Raises:
        InteropError: another kind of adapter (DoRA and others by name), modules or shapes that do
            not fit the base, or no classifier.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    tensors = read_adapter_tensors(folder / WEIGHTS)
    loras, head, rest = _sorted(tensors)
    raise_all(InteropError, str(folder / WEIGHTS), [_unknown(name) for name in rest[:20]])
    if "weight" not in head:
        raise InteropError(
            f"{folder / WEIGHTS}: expected a classifier ({', '.join(_HEADS)}) in modules_to_save, "
            "got none; a brick needs one, train it with modules_to_save=['head']"
        )
    pairs = [_pair(base, config, module, parts) for module, parts in sorted(loras.items())]
    card = Card(data="imported from a PEFT adapter folder")
    settings = {
        "imported": "peft",
        "lora_rank": config["r"],
        "lora_alpha": config["lora_alpha"],
        "lora_scale": "root" if config.get("use_rslora") else "rank",
    }
    return make_brick(base, task, pairs, head["weight"], head.get("bias"), settings, card)


def export_peft(brick: Brick, folder: str | Path) -> None:
    """Write a brick as a PEFT LoRA adapter for the timm model with a head of as many outputs.

    q, k and v of a fused map become one pair whose B has a block per slice; ranks that differ
    between modules stand in `rank_pattern`. α equals the rank, so that the scale is 1.

    Args:
        brick: of a kind whose head is a linear layer (`Kind.linear`).
        folder: to make.

    Raises:
        InteropError: a head of another kind, or something in the folder's place.
    """
    folder = new_folder(folder)
    if not brick.task.rules.linear:
        raise InteropError(
            f"brick {brick.task.name!r}: expected a head that a linear layer can hold, got an "
            f"{brick.task.kind} one; export the generalist to ONNX instead"
        )
    ranks: dict[str, int] = {}
    tensors = {
        f"{PREFIX}head.weight": brick.head.weight.contiguous(),
        f"{PREFIX}head.bias": brick.head.bias.contiguous(),
    }
    for module, targets in by_module(brick.targets).items():
        deltas = [(target, brick.deltas[target.name]) for target in targets]
        rows = max(module_rows(target) for target in targets)
        lefts = [target.placed(delta.U * delta.S, rows) for target, delta in deltas]
        ranks[module] = sum(delta.rank for _, delta in deltas)
        tensors[f"{PREFIX}{module}.lora_A.weight"] = torch.cat([delta.Vh for _, delta in deltas])
        tensors[f"{PREFIX}{module}.lora_B.weight"] = torch.cat(lefts, dim=1)
    rank = max(ranks.values())
    other = {module: ranks[module] for module in sorted(ranks) if ranks[module] != rank}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": brick.base.name,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": other,
        "alpha_pattern": other,
        "target_modules": sorted(ranks),
        "modules_to_save": ["head"],
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
        "task_type": None,
    }
    weights = save(tensors, metadata={"format": "pt"})
    write_folder(folder, {WEIGHTS: weights, CONFIG: dict(sorted(config.items()))})


def _read_config(path: Path) -> dict[str, Any]:
    content = read_expected(path, MAX_CONFIG_BYTES, InteropError, "a PEFT adapter")
    try:
        config = parse_object(content)
    except ValueError as error:
        raise InteropError(f"{path}: {error}") from error
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type: expected LORA, got {shown(str(config.get('peft_type')))}")
    if config.get("bias", "none") != "none":
        problems.append(f"bias: expected none, got {shown(str(config['bias']))}; it trains biases")
    problems += [
        f"{name}: expected it off, got {shown(str(config[name]))}; {why}"
        for name, why in _ELSEWHERE.items()
        if config.get(name)
    ]
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGES_BASE):
        problems.append(
            "init_lora_weights: expected a start that leaves the base as it is, got "
            f"{shown(start)}; convert it with PEFT first"
        )
    for name in ("r", "lora_alpha"):
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            problems.append(f"{name}: expected a number above 0, got {shown(str(value))}")
    raise_all(InteropError, str(path), problems)
    return config


def _sorted(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], list[str]]:
    """LoRA pairs by module, the classifier, and the names of everything else."""
    loras: dict[str, dict[str, Tensor]] = {}
    head: dict[str, Tensor] = {}
    rest = []
    for name, tensor in tensors.items():
        inner = name.removeprefix(PREFIX)
        if match := re.fullmatch(r"(.+)\.lora_([AB])\.weight", inner):
            loras.setdefault(match[1], {})[match[2]] = tensor
        elif match := _HEAD.fullmatch(inner):
            head[match[1]] = tensor
        else:
            rest.append(name)
    return loras, head, sorted(rest)


def _unknown(name: str) -> str:
    if "magnitude" in name:
        return f"{shown(name)}: expected LoRA factors and a classifier, got DoRA's magnitudes"
    return f"{shown(name)}: expected LoRA factors and a classifier, got another tensor"


def _pair(
    base: Base, config: Mapping[str, Any], module: str, factors: dict[str, Tensor]
) -> LoraPair:
    if set(factors) != {"A", "B"}:
        raise InteropError(f"{shown(module)}: expected lora_A and lora_B, got only one")
    A, B = factors["A"], factors["B"]
    if A.ndim != 2 or B.ndim != 2 or not len(A):
        raise InteropError(
            f"{shown(module)}: expected factors of a linear map, "
            f"got shapes {tuple(A.shape)} and {tuple(B.shape)}"
        )
    rank = len(A)
    alpha = _pattern(config, "alpha_pattern", module, config["lora_alpha"])
    stated = _pattern(config, "rank_pattern", module, config["r"])
    if stated != rank:
        raise InteropError(f"{shown(module)}: expected rank {stated} as in {CONFIG}, got {rank}")
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return LoraPair(_targets(base, module), B, A, float(scale))


def _pattern(config: Mapping[str, Any], name: str, module: str, default: float) -> float:
    """PEFT's rule: the first pattern that the module's name ends with."""
    patterns = config.get(name) or {}
    try:
        for pattern, value in patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return float(value)
    except (AttributeError, TypeError, ValueError, re.error) as error:
        raise InteropError(
            f"{CONFIG}: {name}: expected a number per pattern of names, got {shown(str(patterns))}"
        ) from error
    return float(default)


def _targets(base: Base, module: str) -> list[Target]:
    """The base's targets for a module's name: its own, or one in timm's or transformers' words."""
    targets = base.targets(TARGET_KINDS)
    match = _BLOCK.search(module)
    number, inner = (int(match[1]), match[2]) if match else (-1, "")
    kinds = [kind for kind, words in _WORDS.items() if re.fullmatch(words, inner)]
    matching = [t for t in targets if t.module == module] or [
        t for t in targets if t.block == number and t.kind in kinds
    ]
    if not matching:
        raise InteropError(
            f"{shown(module)}: expected a linear map of the base's blocks (attention's q, k, v and "
            "proj, mlp's fc1 and fc2), got another; is this the right base?"
        )
    return matching
