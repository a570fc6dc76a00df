"""Merge methods of installed packages and of notebooks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from factories import make_brick
from medlego.bricks import Brick, LowRank
from medlego.errors import GeneralistError, MergeError
from medlego.generalist import Generalist, add, assemble, remove, undo, verify
from medlego.merge import METHODS, Merged, Method, TaskVector, find_method, register_method
from medlego.support import spell

MODULE = """
from medlego.merge import Method, MethodSettings, by_target, cut

class Settings(MethodSettings):
    factor: float = 2.0

def merge(task_vectors, coefficients, rank=None, *, factor=2.0):
    first = {name: shares[0][0] for name, shares in by_target(task_vectors, coefficients).items()}
    return cut(first, rank)

METHOD = Method("first", "keeps the first brick alone", "a test", merge, Settings)
"""


class Package:
    """A distribution on the path, as an installer would leave it."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self._monkeypatch = place, monkeypatch

    def install(
        self,
        name: str = "acme-merge",
        version: str = "1.2.0",
        points: str = "first",
        code: str = MODULE,
    ) -> None:
        folder, module = self.place / name, name.replace("-", "_")
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(
            f"[medlego.merge_methods]\n{points} = {module}:METHOD\n"
        )
        self._monkeypatch.syspath_prepend(str(folder))

    def uninstall(self, name: str = "acme-merge") -> None:
        left = [entry for entry in sys.path if entry != str(self.place / name)]
        self._monkeypatch.setattr(sys, "path", left)
        sys.modules.pop(name.replace("-", "_"), None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    yield (made := Package(tmp_path / "site", monkeypatch))
    for folder in tmp_path.glob("site/*"):
        made.uninstall(folder.name)


def two() -> list[Brick]:
    return [make_brick("a", 1), make_brick("b", 2)]


def keep_first(
    task_vectors: Sequence[TaskVector], _coefficients: Sequence[float], _rank: int | None = None
) -> Merged:
    return Merged(dict(task_vectors[0]), dict.fromkeys(task_vectors[0], 0.0))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", {})
    register_method(Method("mine", "keeps the first brick", "a notebook", keep_first))


def test_a_package_s_method_merges_and_stands_in_recipe_and_lineage(package: Package) -> None:
    package.install()
    merged = assemble(two(), "first", settings={"factor": 3.0})
    stated = {"distribution": "acme-merge", "version": "1.2.0"}
    assert json.loads(spell(merged.recipe.model_dump(mode="json")))["provider"] == stated
    assert merged.lineage[-1].model_dump(mode="json")["provider"] == stated
    assert merged.recipe.settings == {"factor": 3.0}
    assert "first" in METHODS
    assert list(METHODS)[-1] == "first"


def test_a_built_in_method_states_no_provider() -> None:
    merged = assemble(two())
    assert "provider" not in merged.recipe.model_dump(mode="json")
    assert "provider" not in merged.lineage[-1].model_dump(mode="json")


def test_a_generalist_of_a_package_s_method_is_saved_edited_and_verified(
    package: Package, tmp_path: Path
) -> None:
    package.install()
    merged = add(assemble(two(), "first"), make_brick("c", 3))
    merged = undo(remove(merged, "c"))
    merged.save(tmp_path / "g")
    loaded = Generalist.load(tmp_path / "g")
    assert loaded.recipe == merged.recipe
    assert all(entry.provider == merged.recipe.provider for entry in loaded.lineage)
    assert all(check.holds for check in verify(tmp_path / "g"))


def test_a_generalist_whose_method_is_absent_says_what_to_install(
    package: Package, tmp_path: Path
) -> None:
    package.install()
    assemble(two(), "first").save(tmp_path / "g")
    loaded = Generalist.load(tmp_path / "g")
    package.uninstall()
    says = r"method 'first': expected package acme-merge 1\.2\.0.*; pip install acme-merge==1\.2\.0"
    with pytest.raises(GeneralistError, match=says):
        Generalist.load(tmp_path / "g")
    with pytest.raises(MergeError, match=says):
        add(loaded, make_brick("c", 3))


def test_another_version_loads_and_an_edit_states_it(package: Package, tmp_path: Path) -> None:
    package.install()
    assemble(two(), "first").save(tmp_path / "g")
    package.uninstall()
    (tmp_path / "newer").mkdir()
    package.place = tmp_path / "newer"
    package.install(version="2.0.0")
    newer = add(Generalist.load(tmp_path / "g"), make_brick("c", 3))
    assert [entry.provider.version for entry in newer.lineage if entry.provider] == [
        "1.2.0",
        "2.0.0",
    ]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nowhere_to_be_found", "expected acme-merge to load, got ModuleNotFoundError"),
        ("METHOD = 3", "expected acme-merge to provide a Method of that name, got int"),
        (MODULE.replace('"first"', '"second"'), "got method 'second'"),
    ],
)
def test_a_broken_package_is_named(package: Package, code: str, says: str) -> None:
    package.install(code=code)
    with pytest.raises(MergeError, match=says):
        find_method("first")


def test_two_packages_of_one_name_are_refused(package: Package) -> None:
    package.install()
    package.install("bolt-merge")
    with pytest.raises(MergeError, match="got acme-merge, bolt-merge; uninstall all but one"):
        find_method("first")


def test_a_package_does_not_replace_a_built_in_method(package: Package) -> None:
    built_in = METHODS["linear"]
    package.install(points="linear", code=MODULE.replace('"first"', '"linear"'))
    assert METHODS["linear"] is built_in
    assert list(METHODS).count("linear") == 1


@pytest.mark.usefixtures("registered")
def test_a_registered_method_runs_and_its_absence_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = assemble(two(), "mine")
    assert merged.recipe.model_dump(mode="json")["provider"] == {
        "distribution": None,
        "version": None,
    }
    merged.save(tmp_path / "g")
    assert Generalist.load(tmp_path / "g").recipe == merged.recipe
    monkeypatch.setattr(METHODS, "_registered", {})
    with pytest.raises(GeneralistError, match=r"method 'mine': expected a registered method"):
        Generalist.load(tmp_path / "g")


@pytest.mark.usefixtures("registered")
def test_a_built_in_name_cannot_be_registered() -> None:
    with pytest.raises(MergeError, match="'linear': expected a name of its own"):
        register_method(Method("linear", "", "", keep_first))


def _without_a_target(*_: object) -> Merged:
    return Merged({}, {})


def _not_canonical(vectors: Sequence[TaskVector], *_: object) -> Merged:
    doubled = {n: LowRank(d.U * 2, d.S, d.Vh) for n, d in vectors[0].items()}
    return Merged(doubled, dict.fromkeys(doubled, 0.0))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("merge", "says"),
    [(_without_a_target, "expected a delta, got none"), (_not_canonical, "orthonormal")],
)
def test_what_no_file_could_hold_is_refused(merge: Callable[..., Merged], says: str) -> None:
    register_method(Method("mine", "", "", merge))
    with pytest.raises(MergeError, match=says):
        assemble(two(), "mine")
