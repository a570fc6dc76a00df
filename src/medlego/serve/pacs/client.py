"""A picture archive as a DICOMweb client: search for images, fetch one, store results."""

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
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from medlego.errors import ImageError, PacsAwayError, PacsError, PacsObjectError
from medlego.images import nothing_said
from medlego.serve.pacs.connection import PacsAccess, TooSlowError
from medlego.support import NoPickle

WITHOUT_IMAGES = frozenset(
    {"AU", "DOC", "ECG", "FID", "HD", "KO", "PLAN", "PR", "REG", "RTPLAN", "RTSTRUCT", "SEG", "SR"}
)
"""Modalities whose instances hold no image that could be answered."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_BAD = 400
_BROKEN = 500
_GONE = frozenset({404, 410})
_CREDENTIALS = frozenset({401, 403})
_ADVICE = {
    401: "; check the credentials",
    403: "; check what they allow",
    404: "; check the path of the address",
    405: "; check the path of the address",
}
_REFUSED = frozenset({400, 409, 413, 415, 422})
_CONFLICT = 409
_OUT_OF_RESOURCES = 0xA700
_FAILED_SOP_SEQUENCE = b"00081198"
_UID = re.compile(r"[0-9.]{1,64}")
_STUDY = ("StudyDescription", "NumberOfStudyRelatedInstances")
_SERIES = ("Modality", "BodyPartExamined", "SeriesDescription")


@dataclass(frozen=True)
class Study:
    """A study that the archive lists. `instances` is their number, where it says so."""

    uid: str
    instances: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Series:
    """A series with what it and its study state, by DICOM keyword."""

    study_uid: str
    uid: str
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Instance:
    """One SOP instance by the UIDs under which it is fetched."""

    study_uid: str
    series_uid: str
    sop_uid: str


class PacsClient(NoPickle, instead="make it from its PacsAccess there"):
    """An archive's DICOMweb service; not to be used from two threads at once."""

    def __init__(self, connection: PacsAccess) -> None:
        """Nothing is sent yet.

        Raises:
            SettingsError: an address or a file of credentials that cannot be used.
        """
        url = connection.url.rstrip("/")
        self._session, self._timeout_s = connection.session(), connection.timeout_s
        self._studies_url = f"{url}/studies"
        self._client = DICOMwebClient(
            url, session=self._session, timeout=self._timeout_s, permissive_uid=True
        )
        self._client.set_http_retry_params(retry=False)

    def studies(self, modality: str | None = None, since: date | None = None) -> list[Study]:
        """Studies with images of a modality, and of this day or later.

        Raises:
            PacsError: no answer, or one that is not DICOM JSON.
        """
        filters = {}
        if modality is not None:
            filters["ModalitiesInStudy"] = modality
        if since is not None:
            filters["StudyDate"] = f"{since:%Y%m%d}-"
        search = self._client.search_for_studies
        items = _paged(search, "StudyInstanceUID", fields=_STUDY, search_filters=filters)
        return [
            Study(uid, _number(item, "NumberOfStudyRelatedInstances"), _texts(item, _STUDY[:1]))
            for uid, item in items.items()
        ]

    def series(self, study: Study) -> list[Series]:
        """The series of a study that may hold images.

        Raises:
            PacsError: no answer, or one that is not DICOM JSON.
        """
        search = self._client.search_for_series
        items = _paged(search, "SeriesInstanceUID", study_instance_uid=study.uid, fields=_SERIES)
        listed = [
            Series(study.uid, uid, {**study.attributes, **_texts(item, _SERIES)})
            for uid, item in items.items()
        ]
        return [one for one in listed if one.attributes.get("Modality") not in WITHOUT_IMAGES]

    def instances(self, series: Series) -> list[Instance]:
        """The instances of a series.

        Raises:
            PacsError: no answer, or one that is not DICOM JSON.
        """
        uids = {"study_instance_uid": series.study_uid, "series_instance_uid": series.uid}
        items = _paged(self._client.search_for_instances, "SOPInstanceUID", **uids)
        return [Instance(series.study_uid, series.uid, uid) for uid in items]

    def fetch(self, instance: Instance, path: Path) -> bool:
        """Write an instance to a file, in the transfer syntax in which the archive has it.

        Returns:
            False where the archive no longer has it.

        Raises:
            PacsError: the archive does not answer.
            PacsObjectError: it fails on this instance, or sends another object.
            ImageError: the object that it sends is no DICOM object.
        """
        try:
            with _translated(one_object=True), nothing_said():
                _write(self._get(instance), instance, path)
        except _StatusError as error:
            if error.status in _GONE:
                return False
            if error.status in _CREDENTIALS:
                raise
            raise PacsObjectError(str(error)) from None
        return True

    def store(self, results: Sequence[Dataset]) -> list[str]:
        """Store results of one study.

        Returns:
            One sentence per result that the archive refused; empty where it took all.

        Raises:
            PacsError: no answer, or one that is not DICOM JSON.
            PacsObjectError: the archive fails on these results.
        """
        try:
            with _translated(one_object=True), nothing_said():
                answer = self._post(results)
                if answer.status_code != _CONFLICT:
                    answer.raise_for_status()
                failures = _failures(answer)
        except _StatusError as error:
            if error.status in _REFUSED:
                return [f"the archive refuses the results ({error.status})"]
            if error.status == _BROKEN:
                raise PacsObjectError(str(error)) from None
            raise
        if any(_reason(item) & 0xFF00 == _OUT_OF_RESOURCES for item in failures or ()):
            raise PacsAwayError("archive: expected room for results, got none; free some space")
        if answer.status_code == _CONFLICT and not failures:
            return [f"the archive refuses the results ({_CONFLICT})"]
        if failures is None:
            return ["the archive does not say in DICOM JSON which results it refuses"]
        modality = {str(result.SOPInstanceUID): result.Modality for result in results}
        return [
            f"the archive refuses {_kind(modality, item)} (reason {_reason(item):#06x})"
            for item in failures
        ]

    def _get(self, instance: Instance) -> bytes:
        """One object's file, out of an answer of one part.

        Raises:
            PacsObjectError: another answer, such as a proxy's page, or one that is cut short.
        """
        place = f"{instance.study_uid}/series/{instance.series_uid}/instances/{instance.sop_uid}"
        answer = self._session.get(
            f"{self._studies_url}/{place}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=self._timeout_s,
        )
        answer.raise_for_status()
        header = Message()
        header["Content-Type"] = answer.headers.get("Content-Type", "")
        boundary = header.get_boundary()
        if header.get_content_type() != "multipart/related" or not boundary:
            raise PacsObjectError(
                "archive: expected an instance as multipart/related, got "
                f"{header.get_content_type()}"
            )
        line = b"--" + boundary.encode()
        _, _, part = answer.content.partition(line)
        content, end, _ = part.partition(b"\r\n\r\n")[2].partition(b"\r\n" + line)
        if not end:
            raise PacsObjectError("archive: expected a whole instance, got one cut short")
        return content

    def _post(self, results: Sequence[Dataset]) -> requests.Response:
        """Send objects; dicomweb-client's own store takes an unreadable answer for success."""
        parts = []
        for result in results:
            content = BytesIO()
            dcmwrite(content, result)
            headers = {"Content-Type": "application/dicom"}
            parts.append(RequestField("", content.getvalue(), headers=headers))
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
        return self._session.post(
            self._studies_url,
            data=encode_multipart_formdata(parts, boundary)[0],
            headers={"Content-Type": kind, "Accept": "application/dicom+json"},
            timeout=self._timeout_s,
        )


class _StatusError(PacsError):
    """The archive answered with this HTTP status."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        advice = _ADVICE.get(self.status, "")
        if self.status == _BAD and response.url.startswith("http:"):  # servers of https say so
            advice = "; try an address with https"
        got = f"{self.status} {response.reason}{advice}"
        super().__init__(f"archive: expected an answer, got {got}")


@contextmanager
def _translated(*, one_object: bool = False) -> Iterator[None]:
    """Raise the libraries' errors as ours, without the addresses that they quote.

    With `one_object` a broken or endless answer is blamed on the object that is asked for.
    """
    try:
        yield
    except requests.HTTPError as error:
        response = cast(requests.Response, error.response)
        status, reason = response.status_code, response.reason
        if status in _TRANSIENT and not (one_object and status == _BROKEN):
            raise PacsAwayError(
                f"archive: expected an answer, got {status} {reason}; try later"
            ) from None
        raise _StatusError(response) from None
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            why = "expected a trusted certificate, got another; pass --ca-file"
        else:
            why = "expected TLS, got something else; check http or https in the address"
        raise PacsError(f"archive: {why}") from None
    except requests.TooManyRedirects:
        raise PacsError(
            "archive: expected an answer, got a redirect, which is not followed; pass the final "
            "address"
        ) from None
    except TooSlowError:
        raise (PacsObjectError if one_object else PacsAwayError)(
            "archive: expected a whole answer in time, got an endless one; try later"
        ) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise PacsAwayError(
            f"archive: expected an answer, got none ({type(error).__name__}); check that it runs, "
            "and http or https, host and port of the address"
        ) from None
    except (requests.RequestException, ValueError, RecursionError) as error:
        raise PacsError(
            f"archive: expected an answer in DICOM JSON, got another ({type(error).__name__}); "
            "check the path of the address"
        ) from None


def _write(content: bytes, instance: Instance, path: Path) -> None:
    """Write a fetched object to a file, if it is the instance that was asked for."""
    try:
        dicom = dcmread(BytesIO(content))
        uids = dicom.StudyInstanceUID, dicom.SeriesInstanceUID, dicom.SOPInstanceUID
        if Instance(*map(str, uids)) != instance:
            raise PacsObjectError("archive: expected the instance asked for, got another")
        dcmwrite(path, dicom, enforce_file_format=True)
    except (PacsError, OSError):
        raise
    except Exception as error:  # pydicom lets errors of many kinds through
        raise ImageError(
            "archive: expected a whole DICOM object, got one that cannot be parsed "
            f"({type(error).__name__})"
        ) from None


def _paged(search: Callable[..., Any], key: str, **arguments: Any) -> dict[str, dict[str, Any]]:
    """Every item of a search by UID, page by page, also where the archive ignores the offset."""
    items: dict[str, dict[str, Any]] = {}
    while True:
        with _translated(), nothing_said():
            page = search(offset=len(items), **arguments)
            if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
                raise ValueError("no list of objects")
            # What is no UID would lead elsewhere in an address; no result could refer to it.
            new = {
                uid: item
                for item in page
                if (uid := _text(item, key)) and _UID.fullmatch(uid) and uid not in items
            }
        if not new:
            return items
        items |= new


def _values(item: Mapping[str, Any], keyword: str) -> list[Any]:
    """An element's values in DICOM JSON."""
    element = item.get(f"{tag_for_keyword(keyword):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: Mapping[str, Any], keyword: str) -> str | None:
    """The first value of an element in DICOM JSON, as text; None where it is no text or number."""
    first = next(iter(_values(item, keyword)), "")
    return str(first).strip() if isinstance(first, str | int | float) and first != "" else None


def _texts(item: Mapping[str, Any], keywords: Sequence[str]) -> dict[str, str]:
    return {key: text for key in keywords if (text := _text(item, key)) is not None}


def _number(item: Mapping[str, Any], keyword: str) -> int | None:
    text = _text(item, keyword)
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def _failures(answer: requests.Response) -> list[Mapping[str, Any]] | None:
    """The items of what was not stored (PS3.18 table I.2-1); None where they cannot be read.

    Raises:
        ValueError: a success whose content is not the answer to a store.
    """
    succeeded = answer.status_code in (200, 204)
    if not answer.content and succeeded:
        return []
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("application/dicom+json", "application/json"):
        document = answer.json()
        if isinstance(document, list) and len(document) == 1:
            (document,) = document
        if not isinstance(document, dict):
            raise ValueError("no object")
        items = _values(document, "FailedSOPSequence")
        return [item for item in items if isinstance(item, dict)]
    if kind.endswith("xml"):
        return None if _FAILED_SOP_SEQUENCE in answer.content else []
    if succeeded:
        raise ValueError("no answer to a store")
    return None


def _kind(modality: Mapping[str, str], failure: Mapping[str, Any]) -> str:
    """What was refused, by the modality of the result with its UID."""
    uid = _text(failure, "ReferencedSOPInstanceUID") or ""
    return "the report" if modality.get(uid) == "SR" else "a capture"


def _reason(failure: Mapping[str, Any]) -> int:
    return _number(failure, "FailureReason") or 0
