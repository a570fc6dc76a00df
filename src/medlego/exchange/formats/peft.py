"""PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from medlego.base import Base, Target
from medlego.bricks import Brick, Card, LowRank
from medlego.data import Kind, Task
from medlego.errors import InteropError, raise_all
from medlego.exchange.formats.lora_pairs import LoraPair, make_brick, read_adapter_tensors
from medlego.support import parse_object, read_expected, shown, write_atomically

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20
PREFIX = "base_model.model."
_HEADS = ("head", "classifier", "fc", "score")
# timm's words, and those of transformers' ViT before and since its version 5
_QKV = {"query": "q", "key": "k", "value": "v", "q": "q", "k": "k", "v": "v"}
_QKV |= {f"{name}_proj": name for name in "qkv"}
_PARTS = {
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attn.proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
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
        brick: of any kind but ordinal, whose head is no linear map of its own bias.
        folder: to make.

    Raises:
        InteropError: an ordinal task, or something in the folder's place.
    """
    folder = Path(folder)
    if brick.task.kind is Kind.ORDINAL:
        raise InteropError(
            f"brick {brick.task.name!r}: expected a head that a linear layer can hold, got an "
            "ordinal one; export the generalist to ONNX instead"
        )
    if folder.exists() and any(folder.iterdir()):
        raise InteropError(f"{folder}: expected a new folder, found one; choose another")
    ranks: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}
    for module, targets in _by_module(brick.targets).items():
        B, A = _fused(targets, brick.deltas, _rows(module, targets))
        ranks[module] = len(A)
        tensors[f"{PREFIX}{module}.lora_A.weight"] = A
        tensors[f"{PREFIX}{module}.lora_B.weight"] = B
    tensors[f"{PREFIX}head.weight"] = brick.head.weight.contiguous()
    tensors[f"{PREFIX}head.bias"] = brick.head.bias.contiguous()
    rank = max(ranks.values())
    other = {module: found for module, found in ranks.items() if found != rank}
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
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_atomically(
        folder / CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    )


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
        elif match := re.fullmatch(r"(?:.+\.)?(\w+)\.(weight|bias)", inner):
            if match[1] in _HEADS:
                head[match[2]] = tensor
            else:
                rest.append(name)
        else:
            rest.append(name)
    return loras, head, sorted(rest)


def _unknown(name: str) -> str:
    if "magnitude" in name:
        return f"{shown(name)}: expected LoRA factors and a classifier, got DoRA's magnitudes"
    return f"{shown(name)}: expected LoRA factors and a classifier, got another tensor"


def _pair(base: Base, config: Mapping[str, Any], module: str, parts: dict[str, Tensor]) -> LoraPair:
    if set(parts) != {"A", "B"}:
        raise InteropError(f"{shown(module)}: expected lora_A and lora_B, got only one")
    A, B = parts["A"], parts["B"]
    if A.ndim != 2 or B.ndim != 2:
        raise InteropError(f"{shown(module)}: expected factors of a linear map, got others")
    rank = len(A)
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    stated = _pattern(config.get("rank_pattern"), module, config["r"])
    if stated != rank:
        raise InteropError(f"{shown(module)}: expected rank {stated} as in {CONFIG}, got {rank}")
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    target, start, stop = _place(base, module)
    return LoraPair(target, start, stop, B, A, float(scale))


def _pattern(patterns: Any, module: str, default: Any) -> float:
    """PEFT's rule: the first pattern that the module's name ends with."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return float(value)
    return float(default)


def _place(base: Base, module: str) -> tuple[str, int, int]:
    """The base's own module and rows for a module's name in timm's or transformers' words."""
    match = _BLOCK.search(module)
    inner = match[2] if match else ""
    block = f"blocks.{match[1]}" if match else ""
    last = inner.rpartition(".")[2]
    if inner in _PARTS:
        name, kind = f"{block}.{_PARTS[inner]}", ""
    elif inner == "attn.qkv":
        name, kind = f"{block}.attn.qkv", ""
    elif last in _QKV:
        name, kind = f"{block}.attn.qkv", _QKV[last]
    else:
        name, kind = module, "-"
    try:
        rows = base.module.get_parameter(f"{name}.weight").shape[0]
    except AttributeError:
        rows = 0
    if not rows or kind == "-":
        raise InteropError(
            f"{shown(module)}: expected a linear map of the base's blocks (attention's q, k, v and "
            "proj, mlp's fc1 and fc2), got another; is this the right base?"
        )
    if not kind:
        return name, 0, rows
    third = rows // 3
    start = "qkv".index(kind) * third
    return name, start, start + third


def _by_module(targets: Sequence[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.module, []).append(target)
    return found


def _rows(module: str, targets: Sequence[Target]) -> int:
    """Output rows of a whole module: of a fused qkv three times a slice's."""
    if module.endswith("qkv"):
        return 3 * targets[0].in_features
    return max(target.stop for target in targets)


def _fused(
    targets: Sequence[Target], deltas: Mapping[str, LowRank], rows: int
) -> tuple[Tensor, Tensor]:
    """One pair for all slices of a module: (rows, R) and (R, in), R the sum of their ranks."""
    total = sum(deltas[target.name].rank for target in targets)
    B = torch.zeros(rows, total)
    parts = []
    start = 0
    for target in targets:
        delta = deltas[target.name]
        B[target.start : target.stop, start : start + delta.rank] = delta.U * delta.S
        parts.append(delta.Vh)
        start += delta.rank
    return B, torch.cat(parts).contiguous()
