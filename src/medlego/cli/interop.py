"""medlego import peft | melo, medlego export peft | timm | onnx"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from medlego.cli import checks, options
from medlego.cli.summaries import show_new_brick
from medlego.cli.terminal import Terminal
from medlego.errors import InteropError

if TYPE_CHECKING:
    from medlego.base import Base
    from medlego.bricks import Brick
    from medlego.data import Task
    from medlego.generalist import Generalist


@dataclass(frozen=True)
class AdapterOptions:
    """What another tool's adapter does not say, and the brick to make of it."""

    base: Annotated[str, Option(help="The timm model that it was trained on.")]
    task_name: Annotated[str, Option(help="Name of the task.")]
    labels: Annotated[str, Option(help="Labels in the classifier's order: a,b,…")]
    output: options.NewBrick
    kind: Annotated[
        str | None, Option(help="{medlego.data:KINDS.linear}; derived from the labels by default.")
    ] = None
    modality: Annotated[str | None, Option(help="DICOM modality, such as MR.")] = None
    body_part: options.BodyPart = None
    base_weights: options.BaseWeights = None
    image_size: options.ImageSize = None
    force: options.Force = False

    def convert(self, terminal: Terminal, convert: Callable[[Base, Task], Brick]) -> None:
        """Make, save and show the brick."""
        from medlego.bricks import save_brick

        task = self._task()
        checks.refuse_existing(self.output, self.force)
        brick = convert(options.Compute(self.base_weights).load(self.base, self.image_size), task)
        save_brick(brick, self.output)
        terminal.say(f"{brick.delta_parameters:,} numbers on {len(brick.targets)} targets")
        show_new_brick(terminal, brick, self.output)

    def _task(self) -> Task:
        from medlego.data import Task, guess_kind
        from medlego.support import read_fields

        labels = [label.strip() for label in self.labels.split(",")]
        fields = {
            "name": self.task_name,
            "kind": self.kind or guess_kind(len(labels)),
            "labels": labels,
            "modality": self.modality,
            "body_part": self.body_part,
        }
        return read_fields(Task, fields, name="task", error=InteropError)


def import_peft_command(
    terminal: Terminal,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="A PEFT adapter's folder.")],
    adapter: AdapterOptions,
) -> None:
    r"""Read a PEFT LoRA adapter (adapter_config.json, adapter_model.safetensors).

    Example:
        medlego import peft adapter/ --base vit_small_patch16_224 --task-name brain \
            --labels none,tumour -o brain.safetensors
    """
    from medlego.exchange import import_peft

    adapter.convert(terminal, partial(import_peft, folder))


def import_melo_command(
    terminal: Terminal,
    file: Annotated[Path, Argument(help="A MeLo safetensors file.")],
    alpha: Annotated[
        int, Option(help="As given to MeLo, which scales by the whole number alpha // r.")
    ],
    adapter: AdapterOptions,
) -> None:
    r"""Read a MeLo file, which states neither alpha nor the base and contains no bias.

    Example:
        medlego import melo melo.safetensors --alpha 16 --base vit_base_patch16_224 \
            --task-name brain --labels none,tumour -o brain.safetensors
    """
    from medlego.exchange import import_melo

    adapter.convert(terminal, partial(import_melo, file, alpha=alpha))


def export_peft_command(
    terminal: Terminal, brick: options.BrickFile, output: options.NewDirectory
) -> None:
    """Write a brick as a PEFT LoRA adapter for the timm model.

    Example:
        medlego export peft brain.safetensors -o adapter/
    """
    from medlego.bricks import load_brick
    from medlego.exchange import export_peft

    export_peft(load_brick(brick), output)
    terminal.say(f"wrote {output}")
    terminal.emit({"output": str(output)})


def export_timm_command(
    terminal: Terminal,
    directory: options.Directory,
    output: options.NewDirectory,
    *,
    base_weights: options.BaseWeights = None,
) -> None:
    """Write a generalist as one plain timm state dict with all heads in its classifier.

    Example:
        medlego export timm generalist -o timm/
    """
    from medlego.exchange import export_timm

    remark = "labels.json assigns the outputs to tasks and labels"
    _export(terminal, export_timm, directory, output, base_weights, remark)


def export_onnx_command(
    terminal: Terminal,
    directory: options.Directory,
    output: options.NewDirectory,
    *,
    base_weights: options.BaseWeights = None,
) -> None:
    """Write a generalist as one ONNX graph, checked with onnxruntime.

    Example:
        medlego export onnx generalist -o onnx/
    """
    from medlego.exchange import export_onnx

    remark = "onnxruntime's answers agree"
    _export(terminal, export_onnx, directory, output, base_weights, remark)


def _export(
    terminal: Terminal,
    export: Callable[[Generalist, Base, Path], None],
    directory: Path,
    output: Path,
    base_weights: Path | None,
    remark: str,
) -> None:
    from medlego.generalist import Generalist

    generalist = Generalist.load(directory)
    export(generalist, options.Compute(base_weights).find(generalist.base), output)
    terminal.say(f"wrote {output}; {remark}")
    mode = generalist.recipe.mode
    if mode != "merged" and len(generalist.tasks) > 1:
        terminal.note(
            "this is the merge of all bricks, which is less accurate; only medlego predict gives "
            f"{mode} answers; assemble one brick to export it whole"
        )
    terminal.emit({"output": str(output), "recipe": generalist.recipe.digest})
