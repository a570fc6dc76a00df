"""Secrets out of files, compared safely, and addresses of this machine itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path

from medlego.errors import SettingsError
from medlego.support import read_expected

MAX_SECRET_BYTES = 1 << 16


def read_secret(path: Path, what: str) -> str:
    """The one line of a file, without the space around it.

    Args:
        path: the file.
        what: for messages, for example `a token`; a message never quotes the file.

    Raises:
        SettingsError: no such file, not UTF-8, or not one printable line.
    """
    content = read_expected(path, MAX_SECRET_BYTES, SettingsError, what)
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: expected {what} in UTF-8, got other bytes") from None
    if not text or not text.isprintable():
        raise SettingsError(f"{path}: expected {what} on one line, got none or several")
    return text


def same_secret(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that reveals neither content nor length."""
    digests = [hashlib.sha256(text.encode()).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, reached from nowhere else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
