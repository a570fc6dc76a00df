"""The service's token: how strong it is, and what wrong ones cost whoever sends them."""

from __future__ import annotations

import ipaddress
import math
import string
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Scope

from medlego.errors import SettingsError
from medlego.serve.access import read_secret, same_secret
from medlego.serve.problem_json import RequestError

MIN_BITS, MAX_TOKEN = 128, 512
RULE = f"a token of at least {MIN_BITS} random bits and at most {MAX_TOKEN} ASCII characters"
_ALPHABETS = (
    string.digits,
    string.digits + "abcdef",
    string.digits + "ABCDEF",
    string.digits + string.ascii_lowercase,
    string.digits + string.ascii_uppercase,
    string.digits + string.ascii_letters,
    string.digits + string.ascii_letters + string.punctuation + " ",
)

NO_TOKEN = "authorization: expected Bearer and the service's token, got another or none"

FREE = 4
"""Wrong tokens from an address that cost nothing; each further one doubles its wait, from 1 s."""
LONGEST_WAIT_S = 30.0
FORGET_S = 3600.0
KNOWN_S = 86400.0
"""How long an address that sent the right token is let through, whatever others there send."""
MAX_ADDRESSES = 4096
MAX_FAILURES = 100
"""Of all addresses together, one less each second; from it on, who erred once waits longest."""


@dataclass
class _Caller:
    failures: int = 0
    failed: float = -math.inf
    right: float = -math.inf

    def wait_s(self, now: float, *, busy: bool) -> float:
        """Until a token from here is compared again."""
        if not self.failures or now - self.right < KNOWN_S or not (busy or self.failures > FREE):
            return 0.0
        wait = LONGEST_WAIT_S if busy else 2.0 ** min(self.failures - FREE - 1, 10)
        return self.failed + min(wait, LONGEST_WAIT_S) - now


class TokenCheck:
    """Compares tokens; an address that sent several wrong ones waits, and no other.

    Where an address has to wait, its tokens are not compared, so guessing is slow. Where nobody
    erred within an hour, or somebody sent the right token within a day, one never waits.
    """

    def __init__(
        self,
        token: str,
        count: Callable[[str], None] = lambda _outcome: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`count` is called with `right`, `wrong` or `later`; `clock` returns seconds.

        Raises:
            SettingsError: a weak token.
        """
        check_token(token, "token")
        self._token, self._count, self._clock = token, count, clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._failures, self._since = 0.0, clock()

    def refusal(self, offered: str, scope: Scope) -> RequestError | None:
        """Why a token that a request brings is not taken, or None; for the event loop alone."""
        now, address = self._clock(), _network(scope)
        self._failures = max(0.0, self._failures - (now - self._since))
        self._since = now
        caller = self._callers.get(address, _Caller())
        if now - caller.failed > FORGET_S:
            caller.failures = 0
        wait = caller.wait_s(now, busy=self._failures >= MAX_FAILURES)
        if wait > 0:
            self._count("later")
            why = "token: expected no more guesses for now, got one; wait as Retry-After says"
            return RequestError(429, [why], {"Retry-After": str(math.ceil(wait))})
        if right := same_secret(offered, self._token):
            caller.failures, caller.right = 0, now
        else:
            caller.failures, caller.failed = caller.failures + 1, now
            self._failures = min(self._failures + 1, MAX_FAILURES + LONGEST_WAIT_S)
        self._callers[address] = caller
        self._callers.move_to_end(address)
        if len(self._callers) > MAX_ADDRESSES:
            self._callers.popitem(last=False)
        self._count("right" if right else "wrong")
        return None if right else RequestError(401, [NO_TOKEN])


def read_token(path: Path) -> str:
    """The token in a file, on one line.

    Raises:
        SettingsError: no such file, or no strong token.
    """
    token = read_secret(path, RULE)
    check_token(token, str(path))
    return token


def check_token(token: str, name: str) -> None:
    """Refuse a token that may be guessed; `name` is what the message calls it.

    Raises:
        SettingsError: such a token, or none that a header can hold.
    """
    if not (0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable()):
        got = "another"
    elif (bits := _bits(token)) < MIN_BITS:
        got = f"about {bits:.0f} bits"
    else:
        return
    raise SettingsError(f"{name}: expected {RULE}, got {got}; openssl rand -hex 32 makes one")


def _bits(token: str) -> float:
    """At most so many bits of chance are in it, by its characters and by what repeats."""
    size = next(len(alphabet) for alphabet in _ALPHABETS if set(token) <= set(alphabet))
    return min(len(token) * math.log2(size), 8 * len(zlib.compress(token.encode(), 9)) - 64)


def _network(scope: Scope) -> str:
    """Whom a request comes from: an IPv4 address, or the network of an IPv6 one."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
