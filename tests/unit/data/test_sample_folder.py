"""Sample data are what people keep: folders by label, and DICOM files with a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlego.data import load_dataset, write_samples
from medlego.data.synthetic.sample_folder import COMPRESSED, write_dicom
from medlego.errors import DatasetError
from medlego.images import find_dicom, read_header


def test_every_sample_is_a_data_set(tmp_path: Path) -> None:
    sources = write_samples(tmp_path / "s", images=30, size=32)
    sets = {name: load_dataset(source) for name, source in sources.items()}
    assert {name: len(data.task.labels) for name, data in sets.items()} == {
        "brain": 4,
        "breast": 3,
        "blood": 4,
        "chest": 3,
    }
    assert all(len(d.train) + len(d.val) + len(d.test) == 30 for d in sets.values())
    assert sets["chest"].train.patients is not None


def test_same_seed_same_bytes_and_another_seed_is_another_site(tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_samples(tmp_path / name, images=4, size=32, seed=seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    assert not set(written[0]) & set(written[2])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(DatasetError, match="expected a new or empty folder"):
        write_samples(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_radiographs_have_patients_sites_and_compressions(tmp_path: Path) -> None:
    table = write_dicom(tmp_path, patients=6, size=32, syntaxes=tuple(COMPRESSED))
    labels = table.read_text().splitlines()
    headers = [read_header(path) for path in find_dicom(tmp_path)]
    assert labels[0] == "sop_instance_uid,label"
    assert {line.split(",")[0] for line in labels[1:]} == {h.sop_uid for h in headers}
    assert {line.split(",")[1] for line in labels[1:]} == {"clear", "opacity", "effusion"}
    assert len(headers) == 18
    assert len({h.site for h in headers}) == 2
    assert len({h.transfer_syntax_uid for h in headers}) == 3
    assert len({(h.patient_id, h.age_years, h.sex, h.site) for h in headers}) == 6
