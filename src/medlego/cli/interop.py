"""medlego import peft | melo, medlego export peft | timm | onnx"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, say
from medlego.cli.options import BaseWeights
from medlego.cli.shared import refuse_existing
from medlego.cli.tables import TableCommand

if TYPE_CHECKING:
    from medlego.base import Base
    from medlego.bricks import Brick
    from medlego.data import Task
    from medlego.generalist import Generalist

importing = typer.Typer(
    help="Make bricks of other tools' adapters.", no_args_is_help=True, rich_markup_mode=None
)
exporting = typer.Typer(
    help="Write bricks and generalists for other tools.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BaseName = Annotated[str, typer.Option("--base", help="The timm model it was trained on.")]
ImageSize = Annotated[int | None, typer.Option(help="Input side; the base's own by default.")]
TaskName = Annotated[str, typer.Option(help="Name of the task.")]
Labels = Annotated[str, typer.Option(help="Labels in the classifier's order: a,b,…")]
KindName = Annotated[str | None, typer.Option("--kind", help="{linear}; by the labels.")]
Modality = Annotated[str | None, typer.Option(help="DICOM modality, such as MR.")]
BodyPart = Annotated[str | None, typer.Option(help="DICOM body part, such as BRAIN.")]
BrickOutput = Annotated[Path, typer.Option("--output", "-o", help="Brick file to write.")]
FolderOutput = Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the brick file.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")]


@importing.command("peft", cls=TableCommand)
def import_peft_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A PEFT adapter's folder.")],
    base_name: BaseName,
    task_name: TaskName,
    labels: Labels,
    output: BrickOutput,
    kind: KindName = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    base_weights: BaseWeights = None,
    image_size: ImageSize = None,
    force: Force = False,
) -> None:
    """Read a PEFT LoRA adapter (adapter_config.json, adapter_model.safetensors)."""
    from medlego.exchange import import_peft

    task = _task(task_name, labels, kind, modality, body_part)
    refuse_existing(output, force)
    base = _base(base_name, base_weights, image_size)
    _save(context.obj, import_peft(folder, base, task), base, output)


@importing.command("melo", cls=TableCommand)
def import_melo_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A MeLo safetensors file.")],
    base_name: BaseName,
    task_name: TaskName,
    labels: Labels,
    alpha: Annotated[
        int, typer.Option(help="As given to MeLo, which scales by alpha // r, a whole number.")
    ],
    output: BrickOutput,
    kind: KindName = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    base_weights: BaseWeights = None,
    image_size: ImageSize = None,
    force: Force = False,
) -> None:
    """Read a MeLo file, which says neither alpha nor the base and keeps no bias."""
    from medlego.exchange import import_melo

    task = _task(task_name, labels, kind, modality, body_part)
    refuse_existing(output, force)
    base = _base(base_name, base_weights, image_size)
    _save(context.obj, import_melo(file, base, task, alpha=alpha), base, output)


@exporting.command("peft")
def export_peft_command(
    context: typer.Context,
    brick: Annotated[Path, typer.Argument(metavar="BRICK", help="A brick file.")],
    output: FolderOutput,
) -> None:
    """Write a brick as a PEFT LoRA adapter for the timm model."""
    from medlego.bricks import load_brick
    from medlego.exchange import export_peft

    options: Options = context.obj
    export_peft(load_brick(brick), output)
    say(options, f"wrote {output}")
    emit(options, {"output": str(output)})


@exporting.command("timm")
def export_timm_command(
    context: typer.Context,
    directory: Directory,
    output: FolderOutput,
    base_weights: BaseWeights = None,
) -> None:
    """Write a generalist as one plain timm state dict with all heads in its classifier."""
    from medlego.base import Base
    from medlego.exchange import export_timm
    from medlego.generalist import Generalist

    options: Options = context.obj
    held = Generalist.load(directory)
    export_timm(held, Base.find(held.base, weights=base_weights), output)
    say(options, f"wrote {output}; labels.json says which outputs are whose")
    _say_merged(options, held)
    emit(options, {"output": str(output), "recipe": held.recipe.digest})


@exporting.command("onnx")
def export_onnx_command(
    context: typer.Context,
    directory: Directory,
    output: FolderOutput,
    base_weights: BaseWeights = None,
) -> None:
    """Write a generalist as one ONNX graph, checked with onnxruntime."""
    from medlego.base import Base
    from medlego.exchange import export_onnx
    from medlego.generalist import Generalist

    options: Options = context.obj
    held = Generalist.load(directory)
    export_onnx(held, Base.find(held.base, weights=base_weights), output)
    say(options, f"wrote {output}; onnxruntime's answers agree")
    _say_merged(options, held)
    emit(options, {"output": str(output), "recipe": held.recipe.digest})


def _say_merged(options: Options, held: Generalist) -> None:
    """Of a generalist that works otherwise, one graph can only hold the merge."""
    if held.recipe.mode != "merged" and len(held.tasks) > 1:
        say(
            options,
            f"note: this is the merge of all bricks, in which tasks lose skill; {held.recipe.mode} "
            "answers come from medlego predict alone; assemble one brick to export it whole",
        )


def _task(
    name: str, labels: str, kind: str | None, modality: str | None, body_part: str | None
) -> Task:
    from medlego.data import Task, guess_kind
    from medlego.errors import InteropError
    from medlego.support import read_fields

    names = [label.strip() for label in labels.split(",")]
    fields = {
        "name": name,
        "kind": kind or guess_kind(len(names)),
        "labels": names,
        "modality": modality,
        "body_part": body_part,
    }
    return read_fields(Task, fields, name="task", error=InteropError)


def _base(name: str, weights: Path | None, image_size: int | None) -> Base:
    from medlego.base import Base

    return Base.load(name, weights=weights, image_size=image_size)


def _save(options: Options, brick: Brick, base: Base, output: Path) -> None:
    from medlego.bricks import save_brick

    save_brick(brick, output)
    base.keep()
    say(
        options,
        f"wrote {output} ({brick.delta_parameters:,} numbers on {len(brick.targets)} "
        f"targets, {brick.digest[:12]})",
    )
    emit(options, {"output": str(output), "digest": brick.digest})
