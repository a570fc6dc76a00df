"""How an archive is reached: address, credentials out of files, trusted certificates."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from medlego.errors import SettingsError
from medlego.serve.access import is_loopback, read_secret
from medlego.support import ShortRepr, read_expected

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, repr=False)
class PacsAccess(ShortRepr):
    """An archive's DICOMweb service.

    `url` is what `/studies` follows. `token_file` holds a bearer token, `password_file` a line
    `user:password`; both are read again at every request, so that they may be renewed in place.
    `ca_file` has the certificates (PEM) that the archive's is checked with, instead of the public
    ones. Without `allow_http` only this machine is reached without TLS. `timeout_s` bounds the wait
    for each piece of an answer, `whole_s` that for the whole.
    """

    url: str = field(repr=False)
    token_file: Path | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    allow_http: bool = False
    timeout_s: float = 60.0
    whole_s: float = 600.0

    def session(self) -> requests.Session:
        """A session that goes to the address itself: without proxies, redirects and `.netrc`.

        Raises:
            SettingsError: an address that cannot be used or would give secrets away, or a file
                that is not there.
        """
        self._check_url()
        session = _Session(self.whole_s)
        session.trust_env = False
        session.max_redirects = 0
        if self.ca_file is not None:
            read_expected(self.ca_file, 1 << 24, SettingsError, "certificates in PEM")
            session.verify = str(self.ca_file)
        if self.token_file is not None and self.password_file is not None:
            raise SettingsError(
                "credentials: expected a token or a password, got both; leave one out"
            )
        if self.token_file is not None or self.password_file is not None:
            self._authorization()  # refuses a wrong file before anything is sent
            session.auth = self._sign
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._authorization()
        return request

    def _authorization(self) -> str:
        if self.token_file is not None:
            return f"Bearer {read_secret(self.token_file, 'a token')}"
        assert self.password_file is not None
        line = read_secret(self.password_file, "a line user:password")
        if ":" not in line:
            raise SettingsError(
                f"{self.password_file}: expected a line user:password, got one without ':'"
            )
        return f"Basic {b64encode(line.encode()).decode()}"

    def _check_url(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                "archive: expected an address https://HOST[:PORT]/PATH, got something else"
            )
        if parts.username is not None or parts.password is not None:
            raise SettingsError(
                "archive: expected an address without user and password; put them into a file and "
                "pass --password-file"
            )
        if parts.scheme == "http" and not self.allow_http and not is_loopback(parts.hostname):
            raise SettingsError(
                f"archive: expected https, got http to {parts.hostname}, which sends images and "
                "credentials unencrypted; use https, or pass --allow-http within a closed network"
            )


class TooSlowError(requests.ReadTimeout):
    """An answer came, but not whole within its time."""


class _Session(requests.Session):
    """Reads answers whole and within a time; requests itself only bounds the wait between bytes."""

    def __init__(self, whole_s: float) -> None:
        super().__init__()
        self._whole_s = whole_s

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As of requests, but that the answer is in memory.

        Raises:
            TooSlowError: it took too long.
            requests.RequestException: whatever else went wrong.
        """
        end = time.monotonic() + self._whole_s
        answer = super().send(request, **options | {"stream": True})
        content = BytesIO()
        try:
            while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
                content.write(piece)
                if time.monotonic() > end:
                    raise TooSlowError(f"no whole answer within {self._whole_s:g} s")
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error
        finally:
            answer.close()
        content.seek(0)
        answer.raw = content
        return answer
