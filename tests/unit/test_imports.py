"""Rooms import one way and by their public names; within a room no files go round in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module

import pytest

import medlego
from tools.rooms import DOORS, PACKAGE, PICTURE, ROOMS, files, imports, module_of, picture, room_of

FILES = files()
PACKAGES = [room for room in ROOMS if room != "errors"]
ACROSS = [
    imported
    for path in FILES
    for imported in imports(path)
    if imported.room not in ("", "errors", room_of(path))
]
"""What files import from other rooms."""


def test_the_rooms_are_these() -> None:
    assert sorted({room_of(path) for path in FILES}) == sorted(ROOMS)


def test_files_import_only_from_rooms_below() -> None:
    below = {room: ROOMS[:number] for number, room in enumerate(ROOMS)}
    assert [
        str(imported) for imported in ACROSS if imported.room not in below[room_of(imported.file)]
    ] == []


def test_doors_upwards_are_these_and_open_only_when_used() -> None:
    found = [imported for path in FILES for imported in imports(path, doors=True)]
    assert {(str(i.file.relative_to(PACKAGE)), i.source) for i in found} == DOORS
    for imported in found:
        line = imported.file.read_text(encoding="utf-8").splitlines()[imported.line - 1]
        assert line.startswith(" "), imported


def test_files_take_from_other_rooms_their_public_names_alone() -> None:
    public = {room: set(import_module(f"medlego.{room}").__all__) for room in PACKAGES}
    wrong = [
        str(imported)
        for imported in ACROSS
        if imported.module != f"medlego.{imported.room}"
        or imported.name not in public[imported.room]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", PACKAGES)
def test_files_of_a_room_stand_in_an_order(room: str) -> None:
    graph = {
        module_of(path): {imported.source for imported in imports(path) if imported.room == room}
        for path in FILES
        if room_of(path) == room and path != PACKAGE / room / "__init__.py"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


@pytest.mark.parametrize("room", PACKAGES)
def test_no_file_of_a_room_imports_through_its_front_door(room: str) -> None:
    wrong = [
        str(imported)
        for path in FILES
        if room_of(path) == room
        for imported in imports(path)
        if imported.source == f"medlego.{room}"
    ]
    assert wrong == []


@pytest.mark.parametrize("room", PACKAGES)
def test_a_room_opens_with_its_charter_and_gives_every_public_name(room: str) -> None:
    package = import_module(f"medlego.{room}")
    assert (package.__doc__ or "").count(".") == 1
    assert package.__all__ == sorted(package.__all__, key=_as_ruff_sorts)
    for name in package.__all__:
        value = getattr(package, name)
        assert not isinstance(value, type(ast)), name


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


def test_the_picture_of_the_rooms_is_true() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run make docs"


def test_a_file_does_not_hide_the_function_of_its_name() -> None:
    code = (
        "import medlego.evaluation.evaluate, medlego.prediction.predict\n"
        "from medlego.evaluation import evaluate\n"
        "from medlego.prediction import predict\n"
        "assert callable(evaluate) and callable(predict)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_these() -> None:
    assert sorted(medlego.__all__) == [
        "Base",
        "Brick",
        "Dataset",
        "Generalist",
        "LowRank",
        "METHODS",
        "Task",
        "TrainSettings",
        "assemble",
        "evaluate",
        "load_brick",
        "load_dataset",
        "merge_files",
        "predict",
        "save_brick",
        "train_brick",
    ]


def test_public_names_are_what_they_say_whatever_was_imported_before() -> None:
    code = (
        "import medlego.prediction, medlego.evaluation, medlego.merge, medlego.train, medlego\n"
        "assert all(getattr(medlego, n) is not None for n in medlego.__all__)\n"
        "assert callable(medlego.predict) and callable(medlego.evaluate)\n"
        "from medlego import *\n"
        "assert callable(assemble)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['medlego', '--help']\n"
        "from medlego.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'timm', 'pydantic', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("worker", ["images.dicom.worker", "data.table_worker"])
def test_a_process_for_one_file_stays_small(worker: str) -> None:
    code = (
        f"import sys, medlego.{worker}\n"
        "heavy = {'torch', 'timm', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
