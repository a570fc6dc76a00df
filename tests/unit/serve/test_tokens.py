"""The service's token: which ones it takes, and what wrong ones cost."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from medlego.errors import SettingsError
from medlego.serve import make_app, read_token
from medlego.serve.auth import AccessGuard
from medlego.serve.token_check import MAX_ADDRESSES, TokenCheck, check_token
from serving import asking, here, on_a_socket, raw

TOKEN = "0123456789abcdef-secret"


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "none or several"),
        ("two words\nand another line", "none or several"),
        ("x\x1b[31m", "none or several"),
        ("ü" * 40, "another"),
        ("0123456789abcdef" * 32 + "0", "another"),
        ("short", "about 26 bits"),
        ("818b7b36b59a7e040d9b21d74499bb", "about 120 bits"),
        ("3141592653589793238462643383279502884", "about 123 bits"),
        ("x" * 512, "bits"),
        ("password" * 8, "bits"),
    ],
)
def test_a_file_without_a_strong_token_is_refused(tmp_path, text, got):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(SettingsError, match="expected a token of at least 128 random bits") as why:
        read_token(file)
    assert got in str(why.value)
    assert not text or text not in str(why.value)


@pytest.mark.parametrize("make", [secrets.token_hex, secrets.token_urlsafe])
def test_every_random_token_of_128_bits_is_taken(make):
    for _ in range(2000):
        check_token(make(16), "token")


def test_an_app_with_a_weak_token_is_not_made(place, routed):
    with pytest.raises(SettingsError, match=r"^token: .*openssl rand -hex 32 makes one"):
        make_app(here(place, routed), token="0123456789abcdef")


class Tokens:
    """A check whose clock stands still until it is moved."""

    def __init__(self):
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.check = TokenCheck(TOKEN, lambda outcome: self.counts.update([outcome]), self.clock)

    def clock(self):
        return self.now

    def sent(self, token, address):
        """The status, and how long to wait."""
        refusal = self.check.refusal(token, {"client": (address, 1)})
        if refusal is None:
            return 200, 0
        return refusal.status_code, int((refusal.headers or {}).get("Retry-After", 0))


def test_wrong_tokens_cost_more_and_more_time_up_to_half_a_minute():
    tokens, waits = Tokens(), []
    for number in range(12):
        assert tokens.sent(f"guess {number}", "10.0.0.1") == (401, 0)
        status, wait = tokens.sent(TOKEN, "10.0.0.1") if number >= 4 else (None, 0)
        assert status in (None, 429)
        waits.append(wait)
        tokens.now += wait
    assert waits == [0] * 4 + [1, 2, 4, 8, 16, 30, 30, 30]
    assert tokens.sent(TOKEN, "10.0.0.1") == (200, 0)
    assert tokens.counts == {"wrong": 12, "later": 8, "right": 1}


def test_attempts_while_one_waits_do_not_make_the_wait_longer():
    tokens = Tokens()
    for _ in range(100):
        tokens.sent("guess", "10.0.0.1")
    assert tokens.counts == {"wrong": 5, "later": 95}
    tokens.now += 1
    assert tokens.sent(TOKEN, "10.0.0.1") == (200, 0)


def test_strangers_lock_out_nobody_who_did_not_err_or_was_right_before():
    tokens = Tokens()
    assert tokens.sent(TOKEN, "10.0.0.1") == (200, 0)
    for number in range(500):
        tokens.sent("guess", f"10.1.{number // 250}.{number % 250}")
        tokens.sent("guess", "10.0.0.1")  # behind the same router as the owner
    assert tokens.sent(TOKEN, "10.0.0.1") == (200, 0)
    assert tokens.sent(TOKEN, "10.0.0.2") == (200, 0)


def test_while_many_guess_whoever_erred_once_waits_and_is_not_locked_out():
    tokens = Tokens()
    assert tokens.sent("mistyped", "10.0.0.1") == (401, 0)
    tokens.now += 20
    for second in range(20):
        for number in range(100):
            tokens.sent("guess", f"10.1.{second}.{number}")
        if second < 10:
            assert tokens.sent(TOKEN, "10.0.0.1")[0] == 429
        tokens.now += 1
    assert tokens.sent(TOKEN, "10.0.0.1") == (200, 0)


def test_what_is_remembered_of_addresses_is_bounded():
    tokens = Tokens()
    for number in range(MAX_ADDRESSES + 100):
        tokens.sent("guess", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(tokens.check._callers) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("one", "other"),
    [("2001:db8::1", "2001:db8::ffff:1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("a b", "\n")],
)
def test_addresses_of_one_caller_count_as_one(one, other):
    tokens = Tokens()
    for _ in range(5):
        tokens.sent("guess", one)
    assert tokens.sent(TOKEN, other)[0] == 429


def test_a_callers_own_word_for_its_address_counts_only_from_a_proxy(place, routed):
    headers = [b"Host: x", b"X-Forwarded-For: 10.9.9.%d", b"Authorization: Bearer guess"]
    head = b"GET /v1/bricks HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\nConnection: close\r\n\r\n"
    for proxies, last in ((), b"429"), (("127.0.0.0/8",), b"401"):
        with on_a_socket(here(place, routed), TOKEN, proxies=proxies) as (port, _):
            statuses = [raw(port, head % number).split()[1] for number in range(7)]
        assert statuses == [b"401"] * 5 + [last] * 2


def test_tokens_are_counted_for_prometheus_by_outcome(place, routed):
    service = here(place, routed)
    with asking(service, TOKEN) as client:
        statuses = [
            client.get("/v1/bricks", headers={"Authorization": "Bearer x"}).status_code
            for _ in range(3)
        ] + [client.post("/page/sign-in", data={"token": "x"}).status_code for _ in range(3)]
        answer = client.post("/page/sign-in", data={"token": TOKEN}, follow_redirects=False)
        text = service.metrics.text().decode()
    assert (statuses, answer.status_code) == ([401] * 5 + [429], 429)
    assert answer.headers["retry-after"] == "1"
    assert "Too many wrong tokens" in answer.text
    assert 'medlego_tokens_total{outcome="wrong"} 5.0' in text
    assert 'medlego_tokens_total{outcome="later"} 2.0' in text


def test_no_token_is_no_guess():
    client = TestClient(AccessGuard(PlainTextResponse("x"), check=TokenCheck(TOKEN)))
    assert {client.get("/x").status_code for _ in range(20)} == {401}
    assert client.get("/x", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_token_is_read_without_its_line_end(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
