"""An archive over DICOMweb: access, search, fetch and store, and what goes wrong with them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicomfiles import compress, dataset
from dicomwebsite import dicomweb_site
from factories import make_base, make_brick
from medlego.errors import (
    ImageError,
    PacsAwayError,
    PacsError,
    PacsObjectError,
    SettingsError,
)
from medlego.generalist import assemble
from medlego.prediction import Engine
from medlego.serve import PacsAccess, PacsClient, answer_study
from medlego.serve.pacs.answering import BATCH
from medlego.serve.pacs.client import Instance, Series, Study

WHEN = datetime(2026, 3, 4, 5, 6, 7)


def source(number, **elements):
    array = np.random.default_rng(number).integers(0, 255, (20, 24), dtype=np.uint8)
    stated = {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SOPInstanceUID": f"1.2.3.4.{number}",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "PatientName": "Doe^Jane",
        "PatientID": "P-1",
    }
    return dataset(array, **(stated | elements))


def instance(number):
    return Instance("1.2.3", "1.2.3.4", f"1.2.3.4.{number}")


def generalist_and_base():
    base = make_base()
    return assemble([make_brick("one", 1, base=base), make_brick("two", 2, base=base)]), base


def certificate(path):
    """A self-signed one for 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archive")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


DEEP = b"[" * 50_000 + b"]" * 50_000


def test_a_search_reads_every_page(site):
    for number in range(1, 6):
        site.add(source(number))
    (study,) = site.pacs().studies("DX")
    (series,) = site.pacs().series(study)
    assert (study.instances, series.attributes["Modality"]) == (5, "DX")
    assert [each.sop_uid for each in site.pacs().instances(series)] == [
        f"1.2.3.4.{number}" for number in range(1, 6)
    ]


def test_a_search_ends_where_the_archive_knows_no_offset(site):
    site.knows_offset = False
    for number in range(1, 6):
        site.add(source(number))
    assert len(site.pacs().instances(Series("1.2.3", "1.2.3.4"))) == 5


def test_series_without_images_are_left_out(site):
    site.add(source(1))
    site.add(source(2, SeriesInstanceUID="1.2.3.5", Modality="PR"))
    assert [each.uid for each in site.pacs().series(Study("1.2.3"))] == ["1.2.3.4"]


def test_an_image_comes_in_the_syntax_in_which_it_is_kept(site, tmp_path):
    syntax = RLELossless
    site.add(compress(source(1), syntax))
    assert site.pacs().fetch(instance(1), tmp_path / "x")
    assert dcmread(tmp_path / "x").file_meta.TransferSyntaxUID == syntax


def test_an_image_that_is_gone_is_no_error(site, tmp_path):
    assert not site.pacs().fetch(instance(1), tmp_path / "x")


def test_another_image_than_asked_for_is_refused(site, tmp_path):
    site.add(source(1))
    site.add(source(2))
    site.swaps = True
    with pytest.raises(PacsError, match="expected the instance asked for, got another"):
        site.pacs().fetch(instance(1), tmp_path / "x")


def test_what_is_no_dicom_object_is_an_image_error(site, tmp_path):
    site.images["1.2.3.4.1"] = b"nothing"
    with pytest.raises(ImageError, match="expected a whole DICOM object"):
        site.pacs().fetch(instance(1), tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>the archive is being updated</html>"),
        ("", b""),
        ("multipart/related", b"no boundary"),
        ("multipart/related; boundary=x", b"--x\r\nContent-Type: application/dicom\r\n\r\nDICM"),
    ],
)
def test_an_answer_that_is_no_object_is_not_held_against_the_image(site, tmp_path, kind, body):
    site.add(source(1))
    site.instance_answer = kind, body
    with pytest.raises(PacsObjectError, match="archive: expected"):
        site.pacs().fetch(instance(1), tmp_path / "x")


@pytest.mark.parametrize("status", [429, 500, 503, 507])
def test_an_archive_that_cannot_answer_now_is_away(site, status):
    site.statuses = [status]
    with pytest.raises(PacsAwayError, match=f"got {status}"):
        site.pacs().studies("DX")


def test_an_answer_that_trickles_is_not_waited_for_without_end(site, tmp_path):
    site.add(source(1))
    site.pause_s = 0.02
    with pytest.raises(PacsObjectError, match="expected a whole answer in time"):
        site.pacs(whole_s=0.1).fetch(instance(1), tmp_path / "x")


def test_an_archive_that_is_not_there_is_away():
    with dicomweb_site() as archive:
        pacs = archive.pacs()
    with pytest.raises(PacsAwayError, match=r"got none .*; check that it runs, and http or https"):
        pacs.studies("DX")


@pytest.mark.parametrize("status", [404, 405])
def test_a_wrong_path_of_the_address_is_told(site, status):
    site.statuses = [status]
    with pytest.raises(PacsError, match=f"got {status} .*; check the path of the address"):
        site.pacs().studies("DX")


def test_https_to_an_archive_of_http_is_told(site):
    url = site.url.replace("http:", "https:")
    with pytest.raises(PacsError, match="expected TLS, got something else; check http or https"):
        PacsClient(PacsAccess(url)).studies("DX")


def test_http_to_an_archive_of_https_is_told(site):
    site.statuses = [400]
    with pytest.raises(PacsError, match="got 400 Bad Request; try an address with https"):
        site.pacs().studies("DX")


def test_an_answer_that_is_no_dicom_json_is_an_error_and_not_passing(site):
    site.garbles = True
    with pytest.raises(PacsError, match=r"DICOM JSON, .*check the path") as caught:
        site.pacs().studies("DX")
    assert not isinstance(caught.value, PacsAwayError)


def test_objects_that_the_archive_refuses_are_told(site):
    site.failures = [0x0122]
    assert site.pacs().store([source(1), source(2)]) == [
        "the archive refuses a capture (reason 0x0122)"
    ]
    assert site.results() == ["1.2.3.4.2"]


def test_objects_that_the_archive_refuses_are_told_under_a_type_with_parameters(site):
    site.json_type = "application/dicom+json; charset=utf-8"
    site.failures = [0x0122]
    assert site.pacs().store([source(1)]) == ["the archive refuses a capture (reason 0x0122)"]


def test_some_refusals_that_cannot_be_read_are_no_success(site):
    site.json_type, site.store_answer = "text/html", (202, b"<html>some</html>")
    (problem,) = site.pacs().store([source(1)])
    assert "does not say" in problem


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>log in</html>"),
        ("application/json", b"[]"),
        ("application/json", DEEP),
    ],
)
def test_a_success_that_is_no_answer_to_a_store_is_an_error(site, kind, body):
    site.json_type, site.store_answer = kind, (200, body)
    with pytest.raises(PacsError, match="DICOM JSON"):
        site.pacs().store([source(1)])


def test_an_archive_that_refuses_everything_says_why(site):
    failed = {"00081155": {"vr": "UI", "Value": ["1.2.3.4.1"]}, "00081197": {"Value": [0x0124]}}
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [failed]}}).encode()
    site.store_answer = 409, body
    assert site.pacs().store([source(1)]) == ["the archive refuses a capture (reason 0x0124)"]
    site.store_answer = 409, body.replace(b"292", b"42752")
    with pytest.raises(PacsAwayError, match="room"):
        site.pacs().store([source(1)])


@pytest.mark.parametrize("body", [b"null", b"5", b"[null]", b'["x"]', DEEP])
def test_a_search_that_gives_no_objects_is_an_error(site, body):
    site.search_answer = body
    with pytest.raises(PacsError, match="DICOM JSON"):
        site.pacs().studies("DX")


@pytest.mark.parametrize("element", ['"x"', '{"Value": 5}', '{"Value": ["../../x?y"]}'])
def test_what_is_no_uid_is_not_asked_for(site, element):
    site.search_answer = f'[{{"0020000D": {element}}}]'.encode()
    assert site.pacs().studies("DX") == []


@pytest.mark.parametrize("value", ["[" * 150 + "]" * 150, "{}", '"' + "9" * 5000 + '"', "1e999"])
def test_a_number_of_instances_that_is_none_is_left_out(site, value):
    uid = '"0020000D": {"Value": ["1.2.3"]}'
    site.search_answer = f'[{{{uid}, "00201208": {{"Value": [{value}]}}}}]'.encode()
    (study,) = site.pacs().studies("DX")
    assert study.instances is None


def test_an_archive_without_room_is_away(site):
    site.failures = [0xA700]
    with pytest.raises(PacsAwayError, match="room"):
        site.pacs().store([source(1)])


def test_an_archive_that_takes_no_such_object_is_told_and_not_an_error(site):
    site.statuses = [415]
    assert site.pacs().store([source(1)]) == ["the archive refuses the results (415)"]


def test_wrong_credentials_are_an_error_with_advice(site):
    site.authorization = "Bearer right"
    with pytest.raises(PacsError, match="got 401 Unauthorized; check the credentials"):
        site.pacs().studies("DX")


def test_a_token_comes_out_of_a_file_and_may_be_renewed(site, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    pacs = site.pacs(token_file=token)
    for text in ("first", "second"):
        token.write_text(text)
        site.authorization = f"Bearer {text}"
        assert pacs.studies("DX") == []


def test_a_password_comes_out_of_a_file(site, tmp_path):
    password = tmp_path / "password"
    password.write_text("user:pass:word\n")
    site.authorization = "Basic dXNlcjpwYXNzOndvcmQ="
    assert site.pacs(password_file=password).studies("DX") == []


@pytest.mark.parametrize("text", ["", "two\nlines", "no-colon"])
def test_a_file_without_a_password_is_refused_without_being_quoted(tmp_path, text):
    password = tmp_path / "password"
    password.write_text(text)
    with pytest.raises(SettingsError, match="expected a line user:password") as caught:
        PacsAccess("https://archive.example", password_file=password).session()
    assert text == "" or text not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://archive.example/dicom-web", "expected https"),
        ("https://user:secret@archive.example", "without user and password"),
        ("ftp://archive.example", "expected an address"),
        ("archive.example/dicom-web", "expected an address"),
    ],
)
def test_addresses_that_give_secrets_away_are_refused(url, why):
    with pytest.raises(SettingsError, match=why) as caught:
        PacsAccess(url).session()
    assert "secret" not in str(caught.value)


def test_http_within_a_closed_network_must_be_allowed():
    PacsAccess("http://archive.example", allow_http=True).session()
    PacsAccess("http://localhost:8042").session()
    PacsAccess("http://127.0.0.2:8042").session()


def test_a_redirect_is_not_followed(site):
    with dicomweb_site() as other:
        site.redirects_to = f"{other.url}/studies"
        with pytest.raises(PacsError, match="redirect"):
            site.pacs().studies("DX")
        assert other.asked == []


def test_proxies_and_netrc_of_the_environment_are_not_used(site, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    site.authorization = "Basic dXNlcjpzZWNyZXQ="
    with pytest.raises(PacsError, match="401"):
        site.pacs().studies("DX")


def test_a_certificate_must_be_trusted(tmp_path):
    own, other = certificate(tmp_path / "own.pem"), certificate(tmp_path / "other.pem")
    with dicomweb_site(own) as archive:
        for access in ({}, {"ca_file": other}):
            with pytest.raises(PacsError, match="certificate") as caught:
                archive.pacs(**access).studies("DX")
            assert not isinstance(caught.value, PacsAwayError)
        assert archive.pacs(ca_file=own).studies("DX") == []


def test_a_study_is_answered_and_the_results_lie_beside_its_images(site):
    for number in (1, 2):
        site.add(source(number))
    generalist, base = generalist_and_base()
    outcomes = answer_study(site.pacs(), generalist, "1.2.3", WHEN, base=base)
    assert [each.problem for each in outcomes] == ["", ""]
    assert sorted(uid for each in outcomes for uid in each.results) == site.results()
    assert len(site.objects("SR")) == 2
    assert {each.StudyInstanceUID for each in site.everything()} == {"1.2.3"}


def test_answering_a_study_again_stores_the_same_under_the_same_uids(site):
    site.add(source(1))
    generalist, base = generalist_and_base()
    for _ in range(2):
        answer_study(site.pacs(), generalist, "1.2.3", WHEN, base=base)
    assert set(site.stores.values()) == {2}
    assert {len(contents) for contents in site.contents.values()} == {1}
    assert len(site.objects("SR")) == 1


def test_a_generalist_is_made_ready_once_for_a_whole_study(site, monkeypatch):
    for number in range(BATCH + 1):
        site.add(source(number))
    generalist, base = generalist_and_base()
    made: list[object] = []
    whole = Engine.__init__

    def counted(self, *arguments, **more):
        made.append(self)
        whole(self, *arguments, **more)

    monkeypatch.setattr(Engine, "__init__", counted)
    outcomes = answer_study(site.pacs(), generalist, "1.2.3", WHEN, base=base, method=None)
    assert [each.problem for each in outcomes] == [""] * (BATCH + 1)
    assert len(made) == 1


def test_one_series_of_a_study_can_be_answered(site):
    site.add(source(1))
    site.add(source(2, SeriesInstanceUID="1.2.3.5"))
    generalist, base = generalist_and_base()
    outcomes = answer_study(site.pacs(), generalist, "1.2.3", WHEN, series="1.2.3.5", base=base)
    assert [each.instance.series_uid for each in outcomes] == ["1.2.3.5"]


def test_a_study_that_is_not_there_is_said_so(site):
    generalist, base = generalist_and_base()
    with pytest.raises(SettingsError, match="got none of this UID"):
        answer_study(site.pacs(), generalist, "1.2.9", WHEN, base=base)


def test_an_object_without_pixels_is_told_and_the_others_are_answered(site):
    without = source(1)
    del without.PixelData
    site.add(without)
    site.add(source(2))
    generalist, base = generalist_and_base()
    outcomes = answer_study(site.pacs(), generalist, "1.2.3", WHEN, base=base)
    assert [bool(each.problem) for each in outcomes] == [True, False]
    assert "pixel data" in outcomes[0].problem or outcomes[0].problem.startswith("expected")


def test_what_identifies_a_patient_is_neither_logged_nor_in_the_answers(site, caplog):
    caplog.set_level(logging.DEBUG)
    site.add(source(1))
    generalist, base = generalist_and_base()
    outcomes = answer_study(site.pacs(), generalist, "1.2.3", WHEN, base=base)
    assert "Doe" not in caplog.text + repr(outcomes) + repr([each.as_dict() for each in outcomes])
