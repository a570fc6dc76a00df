"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BaseWeights = Annotated[
    Path | None, typer.Option(help="Local safetensors file with the base's weights.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
LabelsMap = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Table with columns from, to and perhaps task: the data's labels (names, or codes as "
        "SCHEME:VALUE) as the task's; what the task does not know is left out.",
    ),
]
DataSeed = Annotated[int, typer.Option(help="Of the split, where DATA has none.")]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="The store; $MEDLEGO_STORE or ~/.local/share/medlego/store."),
]
Trusted = Annotated[
    Path, typer.Option(metavar="FILE", help="Trust file: whose signatures are accepted.")
]
RequireSigned = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Trust file: refuse bricks that nobody in it signed (BRICK.sig.json)."
    ),
]
By = Annotated[str | None, typer.Option(help="Your name, for the record.")]
SigningKey = Annotated[
    Path | None, typer.Option("--key", help="Private key that signs the lineage's entry.")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result to this file as JSON.")
]
TaskName = Annotated[str | None, typer.Option(help="Name of the task; DATA's stem.")]
KindOfTask = Annotated[str | None, typer.Option("--kind", help="{kinds}; by the data.")]
Labels = Annotated[
    str | None, typer.Option(help="Labels in order, comma-separated (of a scale: lowest first).")
]
Modality = Annotated[
    str | None, typer.Option(help="DICOM code (MR, US, DX, …); decides the augmentation.")
]
BodyPart = Annotated[str | None, typer.Option(help="DICOM body part (CHEST, …).")]
TrainingSeed = Annotated[int, typer.Option(help="Of everything drawn in training.")]
Sensitivity = Annotated[
    float | None,
    typer.Option(
        help="Choose thresholds on val at which labels are found with this sensitivity, for "
        "example 0.95 ({thresholds})."
    ),
]
Specificity = Annotated[float | None, typer.Option(help="The same with specificity.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs; chosen by size if left out.")]
TrainingSettings = Annotated[
    Path | None, typer.Option(help="TOML file with further training settings.")
]
DataNote = Annotated[str | None, typer.Option(help="Where the data come from.")]
Licence = Annotated[str | None, typer.Option(help="Licence of the brick.")]
BrickOutput = Annotated[Path, typer.Option("--output", "-o", help="Brick file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing brick.")]
