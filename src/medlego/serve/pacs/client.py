"""A picture archive by what is asked of it: look for images, fetch one, store results."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from medlego.errors import ImageError, PacsAwayError, PacsError, PacsObjectError
from medlego.images import nothing_said
from medlego.serve.pacs.connection import PacsAccess, TooSlowError

WITHOUT_IMAGES = frozenset(
    {"AU", "DOC", "ECG", "FID", "HD", "KO", "PLAN", "PR", "REG", "RTPLAN", "RTSTRUCT", "SEG", "SR"}
)
"""Modalities whose instances hold no image that could be answered."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_BROKEN = 500
_GONE = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 403})
_REFUSED = frozenset({400, 409, 413, 415, 422})
_CONFLICT = 409
_OUT_OF_RESOURCES = 0xA700
_UID = re.compile(r"[0-9.]{1,64}")
_STUDY = ("StudyDescription", "NumberOfStudyRelatedInstances")
_SERIES = ("Modality", "BodyPartExamined", "SeriesDescription")


@dataclass(frozen=True)
class Study:
    """A study that the archive lists. `instances` is their number, where it says so."""

    uid: str
    instances: int | None
    stated: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Series:
    """A series with what it and its study state."""

    study_uid: str
    uid: str
    stated: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Instance:
    """One SOP instance by the UIDs under which it is fetched."""

    study_uid: str
    series_uid: str
    sop_uid: str


class PacsClient:
    """An archive's DICOMweb service; not to be used from two threads at once."""

    def __init__(self, access: PacsAccess) -> None:
        """Nothing is sent yet.

        Raises:
            SettingsError: an address or a file of credentials that cannot be used.
        """
        self._session, self._timeout_s = access.session(), access.timeout_s
        self._studies_at = f"{access.url.rstrip('/')}/studies"
        self._client = DICOMwebClient(
            access.url.rstrip("/"),
            session=self._session,
            timeout=access.timeout_s,
            permissive_uid=True,
        )
        self._client.set_http_retry_params(retry=False)

    def studies(self, modality: str | None = None, since: date | None = None) -> list[Study]:
        """Studies with images of a modality, or whose date is this day's or later.

        Raises:
            PacsError: the archive does not answer, or not so.
        """
        filters = {}
        if modality is not None:
            filters["ModalitiesInStudy"] = modality
        if since is not None:
            filters["StudyDate"] = f"{since:%Y%m%d}-"
        search = self._client.search_for_studies
        found = _paged(search, "StudyInstanceUID", fields=_STUDY, search_filters=filters)
        return [
            Study(uid, _whole(item, "NumberOfStudyRelatedInstances"), _stated(item, _STUDY[:1]))
            for uid, item in found.items()
        ]

    def series(self, study: Study) -> list[Series]:
        """The series of a study that may hold images.

        Raises:
            PacsError: the archive does not answer, or not so.
        """
        search = self._client.search_for_series
        found = _paged(search, "SeriesInstanceUID", study_instance_uid=study.uid, fields=_SERIES)
        listed = [
            Series(study.uid, uid, {**study.stated, **_stated(item, _SERIES)})
            for uid, item in found.items()
        ]
        return [each for each in listed if each.stated.get("Modality") not in WITHOUT_IMAGES]

    def instances(self, series: Series) -> list[Instance]:
        """The instances of a series.

        Raises:
            PacsError: the archive does not answer, or not so.
        """
        search = self._client.search_for_instances
        found = _paged(
            search,
            "SOPInstanceUID",
            study_instance_uid=series.study_uid,
            series_instance_uid=series.uid,
        )
        return [Instance(series.study_uid, series.uid, uid) for uid in found]

    def fetch(self, instance: Instance, path: Path) -> bool:
        """Write an instance to a file, in the transfer syntax in which the archive has it.

        Returns:
            False where the archive has it no more.

        Raises:
            PacsError: the archive does not answer.
            PacsObjectError: it fails on this one, or gives another or something else.
            ImageError: the object that it sends is no DICOM object.
        """
        try:
            with _asking(one=True), nothing_said():
                content = self._get(instance)
                try:
                    found = dcmread(BytesIO(content))
                    uids = found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID
                    if Instance(*map(str, uids)) != instance:
                        raise PacsObjectError(
                            "archive: expected the instance asked for, got another"
                        )
                    dcmwrite(path, found, enforce_file_format=True)
                except (requests.RequestException, PacsError, OSError):
                    raise
                except Exception as error:  # pydicom lets errors of many kinds through
                    raise ImageError(
                        "archive: expected a whole DICOM object, got one that cannot be parsed "
                        f"({type(error).__name__})"
                    ) from None
        except _StatusError as error:
            if error.status in _GONE:
                return False
            if error.status in _FORBIDDEN:
                raise
            raise PacsObjectError(str(error)) from None
        return True

    def store(self, results: Sequence[Dataset]) -> list[str]:
        """Store results of one study.

        Returns:
            One sentence per result that the archive refused; empty where it took all.

        Raises:
            PacsError: the archive does not answer, or not so.
            PacsObjectError: it fails on these results.
        """
        try:
            with _asking(one=True), nothing_said():
                answer = self._post(results)
                if answer.status_code != _CONFLICT:
                    answer.raise_for_status()
                failed = _failures(answer)
        except _StatusError as error:
            if error.status in _REFUSED:
                return [f"the archive refuses the results ({error.status})"]
            if error.status == _BROKEN:
                raise PacsObjectError(str(error)) from None
            raise
        if any(_reason(each) & 0xFF00 == _OUT_OF_RESOURCES for each in failed or ()):
            raise PacsAwayError("archive: expected room for results, got none; make some")
        if answer.status_code == _CONFLICT and not failed:
            return [f"the archive refuses the results ({_CONFLICT})"]
        if failed is None:
            return ["the archive does not say in DICOM JSON which results it refuses"]
        return [
            f"the archive refuses {_kind(results, each)} (reason {_reason(each):#06x})"
            for each in failed
        ]

    def _get(self, instance: Instance) -> bytes:
        """One object's file, out of an answer of one part.

        Raises:
            PacsObjectError: another answer, such as a proxy's page, or one that is cut short.
        """
        place = f"{instance.study_uid}/series/{instance.series_uid}/instances/{instance.sop_uid}"
        answer = self._session.get(
            f"{self._studies_at}/{place}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=self._timeout_s,
        )
        answer.raise_for_status()
        said = Message()
        said["Content-Type"] = answer.headers.get("Content-Type", "")
        boundary = said.get_boundary()
        if said.get_content_type() != "multipart/related" or not boundary:
            raise PacsObjectError(
                "archive: expected an instance as multipart/related, got an answer of another type"
            )
        line = b"--" + boundary.encode()
        _, _, part = answer.content.partition(line)
        content, end, _ = part.partition(b"\r\n\r\n")[2].partition(b"\r\n" + line)
        if not end:
            raise PacsObjectError("archive: expected a whole instance, got one cut short")
        return content

    def _post(self, results: Sequence[Dataset]) -> requests.Response:
        """Send objects; dicomweb-client itself takes answers that it cannot read for a yes."""
        boundary = secrets.token_hex(16)
        body = BytesIO()
        for result in results:
            body.write(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode())
            content = BytesIO()
            dcmwrite(content, result)
            body.write(content.getvalue())
            body.write(b"\r\n")
        kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
        body.write(f"--{boundary}--\r\n".encode())
        return self._session.post(
            self._studies_at,
            data=body.getvalue(),
            headers={"Content-Type": kind, "Accept": "application/dicom+json"},
            timeout=self._timeout_s,
        )


class _StatusError(PacsError):
    """The archive answered with this HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        advice = {401: "; check the credentials", 403: "; check what they allow"}.get(status, "")
        super().__init__(f"archive: expected an answer, got {status} {reason}{advice}")
        self.status = status


@contextmanager
def _asking(*, one: bool = False) -> Iterator[None]:
    """Errors of the libraries as ours, without the addresses that they quote.

    With `one` a broken or endless answer is held against the one object that is asked about.
    """
    try:
        yield
    except requests.HTTPError as error:
        response = cast(requests.Response, error.response)
        status, reason = response.status_code, response.reason
        if status in _PASSING and not (one and status == _BROKEN):
            raise PacsAwayError(
                f"archive: expected an answer, got {status} {reason}; try later"
            ) from None
        raise _StatusError(status, reason) from None
    except requests.exceptions.SSLError:
        raise PacsError(
            "archive: expected a certificate that is trusted, got another; pass --ca-file"
        ) from None
    except requests.TooManyRedirects:
        raise PacsError(
            "archive: expected an answer, got a redirect, which is not followed; pass the address "
            "itself"
        ) from None
    except TooSlowError:
        raise (PacsObjectError if one else PacsAwayError)(
            "archive: expected a whole answer in time, got one that goes on; try later"
        ) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise PacsAwayError(
            f"archive: expected an answer, got none ({type(error).__name__}); is it running?"
        ) from None
    except (requests.RequestException, ValueError) as error:
        raise PacsError(
            f"archive: expected an answer in DICOM JSON, got another ({type(error).__name__})"
        ) from None


def _paged(search: Callable[..., Any], key: str, **asked: Any) -> dict[str, dict[str, Any]]:
    """All that a search finds by UID, page by page, also where the archive knows no offset."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        with _asking(), nothing_said():
            page = search(offset=len(found), **asked)
            if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
                raise ValueError("no list of objects")
            # What is no UID would lead elsewhere in an address; no result could refer to it.
            new = {
                uid: item
                for item in page
                if (uid := _text(item, key)) and _UID.fullmatch(uid) and uid not in found
            }
        if not new:
            return found
        found |= new


def _text(item: Mapping[str, Any], keyword: str) -> str | None:
    """The first value of an element in DICOM JSON, as text."""
    values = _values(item, f"{tag_for_keyword(keyword):08X}")
    return None if not values or values[0] in (None, "") else str(values[0]).strip()


def _values(item: Mapping[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _stated(item: Mapping[str, Any], keywords: Sequence[str]) -> dict[str, str]:
    return {key: text for key in keywords if (text := _text(item, key)) is not None}


def _whole(item: Mapping[str, Any], keyword: str) -> int | None:
    text = _text(item, keyword)
    return int(text) if text is not None and text.isdecimal() else None


def _failures(answer: requests.Response) -> list[Mapping[str, Any]] | None:
    """The items of what was not stored (PS3.18 table I.2-1); None where they cannot be read.

    Raises:
        ValueError: success is claimed by what is no answer to a store.
    """
    if not answer.content and answer.status_code in (200, 204):
        return []
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    tag = f"{tag_for_keyword('FailedSOPSequence'):08X}"
    if kind in ("application/dicom+json", "application/json"):
        found = answer.json()
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        if not isinstance(found, dict):
            raise ValueError("no object")
        return [each for each in _values(found, tag) if isinstance(each, dict)]
    if kind.endswith("xml") and tag.encode() not in answer.content:
        return []
    if answer.status_code in (200, 204) and not kind.endswith("xml"):
        raise ValueError("no answer to a store")
    return None


def _kind(results: Sequence[Dataset], failed: Mapping[str, Any]) -> str:
    """Which of the results it was, by what it is."""
    modalities = {str(result.SOPInstanceUID): result.Modality for result in results}
    uid = _text(failed, "ReferencedSOPInstanceUID")
    return "the report" if uid is not None and modalities.get(uid) == "SR" else "a capture"


def _reason(failed: Mapping[str, Any]) -> int:
    return _whole(failed, "FailureReason") or 0
