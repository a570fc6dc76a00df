"""Ways to damage a file for `tests/fuzz.py`; each knows how the file is built."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from brickparts import Parts, frame

Mutate = Callable[[bytes, random.Random], bytes]

_WORDS = [
    *(b"nan", b"-inf", b"1e400", b"-1", b"0", b"1.5", b"1,5", b"9" * 400, b"1e-320", b"0x10"),
    *(b"", b"\\", b"\0", b'"', b"'", b"[", b"]]", b"{", b"}", b"=", b",", b";", b"|", b"\t"),
    *(b"\r", b"\n", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae"),
    *(b"../", b"/", b"C:\\x", b"NA", b"true", b"null", b"2027-12-31", b"sep=,\n", b"-1.0"),
]
_TIMES = [1, 1, 1, 2, 4]
"""How often an input is damaged; most of those that are damaged often end at the first check."""
_NUMBERS = [0, 1, 2, 7, 8, 15, 16, 127, 128, 255, 32767, 32768, 65535, 1 << 31, (1 << 32) - 1]


def bytewise(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken out or put in, most of them near the start."""
    damaged = bytearray(content)
    for _ in range(rng.choice(_TIMES)):
        near = min(len(damaged), 900)
        at = rng.randrange(near if rng.random() < 0.8 else len(damaged)) if damaged else 0
        way = rng.random()
        if way < 0.5 and damaged:
            damaged[at] = rng.randrange(256)
        elif way < 0.65:
            width = rng.choice([1, 2, 4])
            number = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            damaged[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
        elif way < 0.8:
            del damaged[at : at + rng.randint(1, 8)]
        else:
            damaged[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(damaged)


def wordwise(content: bytes, rng: random.Random) -> bytes:
    """Text with words and lines put in, taken out or doubled."""
    if rng.random() < 0.2:
        return bytewise(content, rng)
    for _ in range(rng.choice(_TIMES)):
        first, last = sorted(rng.randint(0, len(content)) for _ in range(2))
        last = min(last, first + rng.choice([0, 1, 4, 30]))
        word = content[first:last] * rng.choice([2, 300]) if rng.random() < 0.2 else None
        word = rng.choice(_WORDS) if word is None else word
        content = content[:first] + word + content[last:]
    return content.decode("utf-8", "replace").encode("utf-16") if rng.random() < 0.05 else content


def elementwise(content: bytes, rng: random.Random) -> bytes:
    """A DICOM file's elements with other values and types, lengths kept right."""
    if rng.random() < 0.4:
        return bytewise(content, rng)
    at, parts = 132, []
    while at + 8 <= len(content):
        long = content[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        form = "<L" if long else "<H"
        (length,) = struct.unpack_from(form, content, at + (8 if long else 6))
        if length == 0xFFFFFFFF:
            break
        start = at + (12 if long else 8)
        parts.append([content[at : at + 4], content[at + 4 : at + 6], content[start:][:length]])
        at = start + length
    for _ in range(rng.choice(_TIMES)):
        part = rng.choice(parts)
        way = rng.random()
        if way < 0.5:
            part[2] = rng.choice([*_WORDS, *(struct.pack("<L", n)[:2] for n in _NUMBERS)])
        elif way < 0.7:
            part[2] = bytewise(part[2], rng)
        elif way < 0.8:
            part[1] = rng.choice([b"UN", b"SQ", b"DS", b"US", b"OB", b"FD", b"IS", b"LO", b"AT"])
        elif way < 0.9:
            parts.remove(part)
        else:
            parts.insert(rng.randrange(len(parts)), [*rng.choice(parts)])
    written = b"".join(
        tag
        + vr
        + (
            b"\0\0" + struct.pack("<L", len(value))
            if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
            else struct.pack("<H", len(value) & 0xFFFF)
        )
        + value
        for tag, vr, value in parts
    )
    return content[:132] + written + content[at:]


def nodewise(content: bytes, rng: random.Random) -> bytes:
    """A JSON document with another value somewhere, spelled as JSON again."""
    if rng.random() < 0.3:
        return wordwise(content, rng)
    document = json.loads(content)
    for _ in range(rng.choice(_TIMES)):
        change_node(document, rng)
    return json.dumps(document).encode()


def change_node(document: Any, rng: random.Random) -> None:
    """Put something else in one place of a document."""
    places: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        node = todo.pop()
        inner = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in inner:
            places.append((node, key))
            if isinstance(value, dict | list):
                todo.append(value)
    if not places:
        return
    node, key = rng.choice(places)
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1.5,
        1e308,
        float("nan"),
        10**400,
        "",
        "x" * 300,
        "é\u202e",
    ]
    values += [
        "\ud800",
        [],
        {},
        [[]],
        {"": 0},
        [node[key]],
        2**63,
        "2026-13-45T99:00:00Z",
        "0" * 64,
    ]
    if rng.random() < 0.15:
        del node[key]
    elif rng.random() < 0.1 and isinstance(node, dict):
        node[rng.choice(["", "x", "format", "digest"])] = rng.choice(values)
    else:
        node[key] = rng.choice(values)


def brickwise(content: bytes, rng: random.Random) -> bytes:
    """A brick whose document, header or tensors say something else, the digest put right."""
    way = rng.random()
    if way < 0.3:
        return bytewise(content, rng)
    parts = Parts.of(content)
    if way < 0.4:
        return parts.with_entries(lambda header: change_node(header, rng))
    for _ in range(rng.randint(1, 2)):
        if rng.random() < 0.7:
            change_node(parts.document, rng)
        else:
            name = rng.choice(sorted(parts.tensors))
            values = parts.tensors[name]
            edge = rng.choice([np.nan, np.inf, 1e38, 0, -1])
            values.reshape(-1)[rng.randrange(values.size) if values.size else slice(0)] = edge
            if rng.random() < 0.3:
                parts.tensors[name] = values[rng.choice([slice(1), slice(0), None])]
    try:
        return parts.restate().pack()
    except Exception:  # a document that no JSON in one spelling can hold
        head = {"__metadata__": {"medlego": json.dumps(parts.document)}}
        return frame(head, b"")
