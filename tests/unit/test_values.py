"""Public values show themselves in a few words, name nobody, and can be pickled."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from factories import (
    make_base,
    make_brick,
    make_dataset,
    make_features,
    make_task,
    with_calibration,
    with_grams,
    with_profile,
)
from medlego.base import Inputs
from medlego.bricks import (
    Adapter,
    EpochPoint,
    Mixed,
    Noise,
    Reference,
    RefitHead,
    Signer,
    sign_brick,
)
from medlego.data import (
    ArrayImages,
    Columns,
    Dataset,
    Fingerprints,
    ImagePlace,
    LabelMap,
    LeakPair,
    LeakReport,
    Memory,
    Samples,
    SiteKey,
    TaskHints,
)
from medlego.errors import BrickError, MedLegoError
from medlego.evaluation import Evaluated, Facts, GateLimits, GateReport, Report
from medlego.exchange import HubCopy, Ordinary, Screening, Store
from medlego.generalist import Generalist, Stamp, Trust, add, assemble, difference
from medlego.images import Header, from_array
from medlego.merge import METHODS, Merged, diagnose
from medlego.metrics import (
    Aim,
    Column,
    Comparison,
    Curves,
    Diagram,
    GroupRow,
    Interval,
    OperatingPoint,
    Replicates,
    Sample,
)
from medlego.metrics.comparison import PairedTest
from medlego.metrics.reliability import Bin
from medlego.prediction import Answer, Prediction, Predictions, Route, Saliency, TaskAnswers
from medlego.serve import (
    InstanceOutcome,
    PacsAccess,
    PageGate,
    PageSettings,
    PollResult,
    Rule,
    ServiceLimits,
)
from medlego.support import FrozenModel, NoPickle, SafetensorsFile, ShortRepr
from medlego.train import (
    Epoch,
    EpochScores,
    Experiment,
    ExperimentResult,
    ExperimentScore,
    Search,
    TrainSettings,
)
from tools.rooms import ROOMS

ABSTRACT = (FrozenModel, NoPickle, ShortRepr)
"""Classes of which there are no instances, beside protocols and errors."""
PERSON, PLACE = "DOE-JANE-0815", "/srv/clinic"
IMAGE = f"{PLACE}/{PERSON}.dcm"
BASE = make_base()
MANY = tuple(f"{PERSON}-{number}" for number in range(2000))
NUMBERS = np.linspace(0, 1, 4000, dtype=np.float32)
TASK = make_task("derm", count=1000)
BETWEEN = Interval(0.5, 0.4, 0.6, 0)


@cache
def brick(name: str = "derm", seed: int = 0) -> Any:
    return with_calibration(with_profile(with_grams(make_brick(name, seed, base=BASE))))


@cache
def generalist() -> Generalist:
    whole = assemble([brick(), brick("chest", 1)])
    return add(whole, brick("brain", 2), stamp=Stamp.now("Ada", signer()))


@cache
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def dataset() -> Dataset:
    data = make_dataset()
    patients = np.array([PERSON] * 12)
    train = Samples(data.train.images, data.train.labels, patients, {"sex": np.array(["F"] * 12)})
    return Dataset.of(data.task, {"train": train, "val": data.val, "test": data.test})


def fingerprints() -> Fingerprints:
    return Fingerprints.of(PLACE, dataset())


def place() -> ImagePlace:
    return ImagePlace(PLACE, "train", 3, IMAGE)


def pair() -> LeakPair:
    return LeakPair("patient", place(), place(), 0.99, True, False)


def header() -> Header:
    fields: dict[str, Any] = dict.fromkeys(inspect.signature(Header).parameters, PERSON)
    fields |= {"rows": 512, "columns": 512, "frames": 1, "age_years": 43.5, "has_pixels": True}
    fields |= {"modality": "MR", "manufacturer": "Acme", "model": "M1", "body_part": "BRAIN"}
    fields |= {"path": Path(IMAGE), "sop_class_uid": "1.2", "transfer_syntax_uid": "1.2"}
    return Header(**fields)


def nothing_read(*_: object) -> Any:
    raise AssertionError


def prediction() -> Prediction:
    answer = Answer(TASK, tuple(NUMBERS[:1000].tolist()), "calibrated", ())
    return Prediction(IMAGE, ("window 40/400",), (answer,), route())


def route() -> Route:
    return Route(("derm",), MANY, dict.fromkeys(MANY, 0.5), 0.1, dict.fromkeys(MANY, 2.0))


def trust() -> Trust:
    key = {"name": "Ada", "public": signer().public.text, "roles": ("brick",)}
    return Trust.model_validate({"key": [key]})


def evaluated() -> Evaluated:
    row = {"model": "generalist", "task": "derm", "images": 5, "scores": {}}
    fields = {"generalist": "0" * 64, "bricks": {}, "split": "test", "level": 0.95, "rows": [row]}
    return Evaluated.model_validate(fields)


def curve() -> Curves:
    return Curves("melanoma", NUMBERS, NUMBERS, NUMBERS, NUMBERS)


def score() -> ExperimentScore:
    return ExperimentScore(0, "ties", "val", "derm", "specialist", "auroc", 0.5, 0.4, 0.6, 9)


MAKE: dict[str, Callable[[], Any]] = {
    "support.SafetensorsFile": lambda: SafetensorsFile(bytes(9000), IMAGE, BrickError),
    "images.Header": header,
    "images.Image": lambda: from_array(np.zeros((64, 64), np.uint8)),
    "data.ArrayImages": lambda: ArrayImages(np.zeros((9, 64, 64), np.uint8)),
    "data.Columns": lambda: Columns(path="image", label=MANY),
    "data.Dataset": dataset,
    "data.LabelMap": lambda: LabelMap(Path(IMAGE), {("", name): (name, 1) for name in MANY}),
    "data.LeakReport": lambda: LeakReport(9, (pair(),) * 1000),
    "data.Memory": lambda: Memory.of(fingerprints(), SiteKey(bytes(32))),
    "data.LeakPair": pair,
    "data.ImagePlace": place,
    "data.Fingerprints": fingerprints,
    "data.Samples": lambda: dataset().train,
    "data.SiteKey": lambda: SiteKey(PERSON.encode()),
    "data.Task": lambda: TASK,
    "data.TaskHints": lambda: TaskHints(name="derm", labels=MANY),
    "metrics.Aim": lambda: Aim(aim="sensitivity", value=0.9),
    "metrics.Calibration": lambda: brick().calibration,
    "metrics.Column": lambda: Column("melanoma", NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    "metrics.Comparison": lambda: Comparison(
        5, dict.fromkeys(MANY, BETWEEN), (PairedTest("auroc", "a", 0.1, 0.5),) * 1000
    ),
    "metrics.Curves": curve,
    "metrics.Diagram": lambda: Diagram("melanoma", (Bin(0.0, 0.1, 5, 0.05, 0.2, 0.1, 0.3),) * 1000),
    "metrics.GroupRow": lambda: GroupRow("sex", "F", 5, 3, True, dict.fromkeys(MANY, BETWEEN)),
    "metrics.Interval": lambda: BETWEEN,
    "metrics.LogitMap": lambda: brick().calibration.maps[0],
    "metrics.OperatingPoint": lambda: OperatingPoint(
        aim="sensitivity", value=0.9, thresholds=(0.5,) * 1000
    ),
    "metrics.Replicates": lambda: Replicates(NUMBERS, NUMBERS, NUMBERS),
    "metrics.Sample": lambda: Sample(
        make_task(), np.full((9, 3), 1 / 3), np.zeros(9, np.int64), np.array([PERSON] * 9)
    ),
    "base.Base": lambda: BASE,
    "base.BaseRef": lambda: BASE.ref,
    "base.Inputs": lambda: Inputs(dataset().train.images, BASE),
    "base.Target": lambda: brick().targets[0],
    "bricks.Adapter": lambda: Adapter(brick().targets, brick().deltas),
    "bricks.Brick": brick,
    "bricks.BrickSignature": lambda: sign_brick(brick(), signer()),
    "bricks.Card": lambda: brick().card,
    "bricks.EpochPoint": lambda: EpochPoint(epoch=1, train_loss=0.5, val_loss=0.5, score=0.5),
    "bricks.Gram": lambda: next(iter(brick().grams.values())),
    "bricks.Head": lambda: brick().head,
    "bricks.Label": lambda: import_module("medlego.bricks").Label(
        "0" * 64, BASE.ref, TASK, brick().card, dict.fromkeys(MANY, 1), 9
    ),
    "bricks.LowRank": lambda: next(iter(brick().deltas.values())),
    "bricks.Mixed": lambda: Mixed(BASE.module, [MAKE["bricks.Adapter"]()], "cpu"),
    "bricks.Noise": lambda: Noise(epsilon=1.0, delta=1e-5),
    "bricks.Profile": lambda: brick().profile,
    "bricks.PublicKey": lambda: signer().public,
    "bricks.Reference": lambda: Reference.of([make_features(48)]),
    "bricks.RefitHead": lambda: RefitHead("0" * 64, TASK, brick().head, {}, brick().card),
    "bricks.Signer": signer,
    "merge.Capability": lambda: generalist().capabilities[0],
    "merge.Diagnosis": lambda: diagnose(generalist().bricks),
    "merge.Ingredient": lambda: generalist().recipe.bricks[0],
    "merge.Merged": lambda: Merged(generalist().deltas, dict.fromkeys(MANY, 0.1)),
    "merge.Method": lambda: METHODS["linear"],
    "merge.MethodSettings": lambda: METHODS["ties"].settings(),
    "merge.BrickPair": lambda: MAKE["merge.Diagnosis"]().pairs[0],
    "merge.Provider": lambda: import_module("medlego.merge").Provider(
        distribution="their-methods", version="1.0"
    ),
    "merge.Recipe": lambda: generalist().recipe,
    "generalist.PastStates": lambda: generalist().past,
    "generalist.Difference": lambda: difference(generalist(), 0, 1),
    "generalist.Entry": lambda: generalist().lineage[-1],
    "generalist.Generalist": generalist,
    "generalist.Stamp": lambda: Stamp.now("Ada"),
    "generalist.Trust": trust,
    "prediction.Answer": lambda: prediction().answers[0],
    "prediction.TaskAnswers": lambda: TaskAnswers(NUMBERS[:, None], NUMBERS > 0.5),
    "prediction.Prediction": prediction,
    "prediction.Predictions": lambda: Predictions([prediction()] * 1000, {"derm": MANY}),
    "prediction.Route": route,
    "prediction.Saliency": lambda: Saliency(
        TASK, "label-0", 0.5, "gradient", torch.rand(16, 16), 224, (512, 512), 1.0
    ),
    "evaluation.Evaluated": evaluated,
    "evaluation.Facts": lambda: Facts(keywords=MANY),
    "evaluation.GateReport": lambda: GateReport(True, (), MANY, "test", 9, 0, GateLimits(), MANY),
    "evaluation.GateLimits": lambda: GateLimits(require=MANY),
    "evaluation.Report": lambda: Report(
        "test", 9, 0, (), {"a": {"b": BETWEEN}}, {}, MANY, {"a": {"b": 1}}, {}
    ),
    "train.Epoch": lambda: Epoch(
        **vars(MAKE["train.EpochScores"]()), epochs=9, history=(), brick=brick
    ),
    "train.EpochScores": lambda: EpochScores(1, 0.5, dict.fromkeys(MANY, 0.5), 0.5, 1.0, True),
    "train.Experiment": lambda: Experiment.model_validate(
        {"data": {"derm": {"source": IMAGE, "labels": MANY}}, "methods": {"linear": {}}}
    ),
    "train.ExperimentResult": lambda: ExperimentResult(Path(PLACE), (score(),) * 1000, MANY),
    "train.ExperimentScore": score,
    "train.Search": lambda: Search(generalist(), 0.5, {0.5: dict.fromkeys(MANY, 0.1)}),
    "train.TrainSettings": lambda: TrainSettings(rank=8, targets=("q",) * 1000),
    "exchange.Ordinary": lambda: Ordinary(
        BASE, torch.rand(9, 3, 16, 16), torch.rand(9, 24), 0.5, "cpu"
    ),
    "exchange.Screening": lambda: Screening("0" * 64, "derm", ()),
    "exchange.HubCopy": lambda: HubCopy("a/b", "0" * 40, brick(), Path(IMAGE), ("Ada",)),
    "exchange.Store": lambda: Store(Path(PLACE)),
    "serve.PacsAccess": lambda: PacsAccess(f"https://u:{PERSON}@{PLACE}", Path(PLACE)),
    "serve.InstanceOutcome": lambda: InstanceOutcome(
        import_module("medlego.serve.pacs.client").Instance(PERSON, PERSON, PERSON),
        "answered",
        prediction=prediction(),
        results=MANY,
    ),
    "serve.PageGate": lambda: PageGate(GateLimits(), nothing_read),
    "serve.ServiceLimits": lambda: ServiceLimits(images=3),
    "serve.PollResult": lambda: PollResult(1, 2, 3, 4, dict.fromkeys(MANY, 5)),
    "serve.PageSettings": lambda: PageSettings(beside=dict.fromkeys(MANY, Path(PLACE))),
    "serve.Rule": lambda: Rule(modality=("MR",) * 1000),
}
"""One instance of each public class that can be pickled, as large and as private as it gets."""


def public_classes() -> dict[str, type]:
    rooms = [room for room in ROOMS if room != "errors"]
    values = {
        f"{room}.{name}": getattr(package, name)
        for room in rooms
        for package in [import_module(f"medlego.{room}")]
        for name in package.__all__
    }
    return {
        name: value
        for name, value in values.items()
        if inspect.isclass(value)
        and not (issubclass(value, Exception) or getattr(value, "_is_protocol", False))
        and value not in ABSTRACT
    }


CLASSES = public_classes()
STAYS = {name for name, value in CLASSES.items() if issubclass(value, NoPickle)}


def instance(name: str) -> Any:
    return MAKE.get(name, partial(object.__new__, CLASSES[name]))()


def refuse(*_: object, **__: object) -> str:
    raise AssertionError("numbers are printed")


def there_and_back(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def test_every_public_class_is_made_here() -> None:
    assert CLASSES.keys() == MAKE.keys() | STAYS
    assert [name for name in CLASSES if not isinstance(instance(name), CLASSES[name])] == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_value_shows_itself_in_a_few_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = instance(name)
    monkeypatch.setattr(torch.Tensor, "__repr__", refuse)
    monkeypatch.setattr(torch.Tensor, "__format__", refuse)
    with np.printoptions(formatter={"all": refuse}):
        for shown in (repr(value), str(value), f"{value}"):
            assert len(shown) <= 300
            assert shown.count("\n") <= 2
            assert PERSON not in shown
            assert "/" not in shown


@pytest.mark.parametrize("name", CLASSES.keys() - STAYS)
def test_a_public_value_can_be_pickled(name: str) -> None:
    value = instance(name)
    copy = there_and_back(value)
    assert type(copy) is type(value)
    if isinstance(value, ShortRepr):
        assert repr(copy) == repr(value)


def test_a_generalist_comes_out_of_a_pickle_as_it_went_in(tmp_path: Path) -> None:
    generalist().save(tmp_path / "before")
    for value in (generalist(), Generalist.load(tmp_path / "before")):
        copy = there_and_back(value)
        copy.save(tmp_path / f"after-{id(value)}")
        assert copy.lineage == value.lineage
        assert files(tmp_path / f"after-{id(value)}") == files(tmp_path / "before")


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_in_its_process_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(TypeError, match=r"expected not to be pickled; (load|make|start|open) "):
        pickle.dumps(instance(name))


def test_errors_can_be_pickled() -> None:
    copy = there_and_back(MedLegoError("a: expected b, got c"))
    assert str(copy) == "a: expected b, got c"
