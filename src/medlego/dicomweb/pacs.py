"""A picture archive by what is asked of it: look for images, fetch one, store results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, cast

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from medlego.dicomweb.access import Access
from medlego.errors import ArchiveAwayError, ArchiveError, ImageError
from medlego.results.quiet import nothing_said

WITHOUT_IMAGES = frozenset(
    {"AU", "DOC", "ECG", "FID", "HD", "KO", "PLAN", "PR", "REG", "RTPLAN", "RTSTRUCT", "SEG", "SR"}
)
"""Modalities whose instances hold no image that could be answered."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_GONE = frozenset({404, 410})
_REFUSED = frozenset({400, 409, 413, 415, 422})
_OUT_OF_RESOURCES = 0xA700
_STUDY = ("StudyDescription", "NumberOfStudyRelatedInstances")
_SERIES = ("Modality", "BodyPartExamined", "SeriesDescription")
_CHUNK_BYTES = 1 << 28
"""Requests up to this size are sent in one piece; some servers cannot take chunks."""


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


class PictureArchive:
    """An archive's DICOMweb service; not to be used from two threads at once."""

    def __init__(self, access: Access) -> None:
        """Nothing is sent yet.

        Raises:
            SettingsError: an address or a file of credentials that cannot be used.
        """
        self._client = DICOMwebClient(
            access.url.rstrip("/"),
            session=access.session(),
            timeout=access.timeout_s,
            chunk_size=_CHUNK_BYTES,
            permissive_uid=True,
        )
        self._client.set_http_retry_params(retry=False)

    def studies(self, modality: str | None = None, since: date | None = None) -> list[Study]:
        """Studies with images of a modality, or whose date is this day's or later.

        Raises:
            ArchiveError: the archive does not answer, or not so.
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
            ArchiveError: the archive does not answer, or not so.
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
            ArchiveError: the archive does not answer, or not so.
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
            ArchiveError: the archive does not answer, or with another instance.
            ImageError: what it sends is no DICOM object.
        """
        try:
            with _asking(), nothing_said():
                try:
                    found = self._client.retrieve_instance(
                        instance.study_uid, instance.series_uid, instance.sop_uid
                    )
                    if str(found.SOPInstanceUID) != instance.sop_uid:
                        raise ArchiveError("archive: expected the instance asked for, got another")
                    dcmwrite(path, found, enforce_file_format=True)
                except (requests.RequestException, ArchiveError, OSError):
                    raise
                except Exception as error:  # pydicom lets errors of many kinds through
                    raise ImageError(
                        "archive: expected a whole DICOM object, got one that cannot be parsed "
                        f"({type(error).__name__})"
                    ) from None
        except _StatusError as error:
            if error.status in _GONE:
                return False
            raise
        return True

    def store(self, results: Sequence[Dataset]) -> list[str]:
        """Store results of one study.

        Returns:
            One sentence per result that the archive refused; empty where it took all.

        Raises:
            ArchiveError: the archive does not answer, or not so.
        """
        try:
            with _asking(), nothing_said():
                answer = self._client.store_instances(results)
        except _StatusError as error:
            if error.status in _REFUSED:
                return [f"the archive refuses the results ({error.status})"]
            raise
        failed = list(answer.get("FailedSOPSequence") or ())
        if any(_reason(each) & 0xFF00 == _OUT_OF_RESOURCES for each in failed):
            raise ArchiveAwayError("archive: expected room for results, got none; make some")
        return [
            f"the archive refuses {_kind(results, each)} (reason {_reason(each):#06x})"
            for each in failed
        ]


class _StatusError(ArchiveError):
    """The archive answered with this HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        advice = {401: "; check the credentials", 403: "; check what they allow"}.get(status, "")
        super().__init__(f"archive: expected an answer, got {status} {reason}{advice}")
        self.status = status


@contextmanager
def _asking() -> Iterator[None]:
    """Errors of the libraries as ours, without the addresses that they quote."""
    try:
        yield
    except requests.HTTPError as error:
        response = cast(requests.Response, error.response)
        status, reason = response.status_code, response.reason
        if status in _PASSING:
            raise ArchiveAwayError(
                f"archive: expected an answer, got {status} {reason}; try later"
            ) from None
        raise _StatusError(status, reason) from None
    except requests.exceptions.SSLError:
        raise ArchiveError(
            "archive: expected a certificate that is trusted, got another; pass --ca-file"
        ) from None
    except requests.TooManyRedirects:
        raise ArchiveError(
            "archive: expected an answer, got a redirect, which is not followed; pass the address "
            "itself"
        ) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise ArchiveAwayError(
            f"archive: expected an answer, got none ({type(error).__name__}); is it running?"
        ) from None
    except (requests.RequestException, ValueError) as error:
        raise ArchiveError(
            f"archive: expected an answer in DICOM JSON, got another ({type(error).__name__})"
        ) from None


def _paged(search: Callable[..., Any], key: str, **asked: Any) -> dict[str, dict[str, Any]]:
    """All that a search finds by UID, page by page, also where the archive knows no offset."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        with _asking(), nothing_said():
            page = search(offset=len(found), **asked)
            new = {uid: item for item in page if (uid := _text(item, key)) and uid not in found}
        if not new:
            return found
        found |= new


def _text(item: Mapping[str, Any], keyword: str) -> str | None:
    """The first value of an element in DICOM JSON, as text."""
    values = item.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or [None]
    return None if values[0] in (None, "") else str(values[0]).strip()


def _stated(item: Mapping[str, Any], keywords: Sequence[str]) -> dict[str, str]:
    return {key: text for key in keywords if (text := _text(item, key)) is not None}


def _whole(item: Mapping[str, Any], keyword: str) -> int | None:
    text = _text(item, keyword)
    return int(text) if text is not None and text.isdecimal() else None


def _kind(results: Sequence[Dataset], failed: Dataset) -> str:
    """Which of the results it was, by what it is."""
    modalities = {str(result.SOPInstanceUID): result.Modality for result in results}
    uid = str(failed.get("ReferencedSOPInstanceUID"))
    return "the report" if modalities.get(uid) == "SR" else "a capture"


def _reason(failed: Dataset) -> int:
    return int(failed.get("FailureReason") or 0)
