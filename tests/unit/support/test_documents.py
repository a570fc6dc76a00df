"""Documents, fields and safetensors files: read whole or refused with everything that is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, field_validator

from medlego.errors import InputError, SettingsError
from medlego.support import (
    FrozenModel,
    SafetensorsFile,
    left_out,
    load_tables,
    load_toml,
    parse_object,
    read_document,
    read_fields,
    safetensors_bytes,
    tensor_problems,
)
from medlego.support.strict_json import MAX_DEPTH


class Sheet(FrozenModel):
    format: int
    name: str
    count: Annotated[int, Field(ge=1)] = 1
    note: str | None = None

    _sparse = left_out(note=None)


class Page(FrozenModel):
    words: tuple[str, ...] = ()
    wide: bool = False
    scale: Annotated[float, Field(gt=0, lt=9)] = 1.0
    side: Literal["left", "right"] = "left"

    @field_validator("words")
    @classmethod
    def _few(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if len(words) > 2:
            raise ValueError(f"expected two words, got {len(words)}")
        return words


class Book(FrozenModel):
    pages: dict[str, Page] | None = None
    cover: Page | None = None
    size: int = Field(3, alias="weight")


def read(text: str) -> Sheet:
    return read_document(Sheet, text.encode(), name="x", error=SettingsError, format=1)


def test_a_document_is_read_and_spelled_as_it_was():
    text = '{"count":2,"format":1,"name":"ä"}'
    assert read(text) == Sheet(format=1, name="ä", count=2)
    assert read(text).spelled() == text.encode()
    assert read(text).spelled("count") == b'{"format":1,"name":"\xc3\xa4"}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", r"x: expected a JSON object, got list"),
        ('{"format": 1, "format": 1}', r"x: .*a key stands twice"),
        (
            '{"format": 2, "else": 1}',
            r"x: format: expected 1, got 2; read it with the medlego",
        ),
        ('{"format": true}', r"x: format: expected 1, got True"),
        ('{"format": 1, "name": 5, "count": 0, "else": 1}', r"x: 3 problems\n  - name: .*"),
        ('{"format": 1, "name": "a", "count": "2"}', r"x: count: expected a whole number, got '2'"),
        ('{"format": 1, "name": "a\\u001b"}', r"x: name: expected text without control"),
    ],
)
def test_a_document_that_is_wrong_is_refused(text, says):
    with pytest.raises(SettingsError, match=f"^{says}"):
        read(text)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"page": 1}, "page: expected a known key, got 'page'; did you mean pages?"),
        ({"PAGES": 1}, "PAGES: expected a known key, got 'PAGES'; did you mean pages?"),
        ({"size": 1}, "size: expected a known key, got 'size'; known are pages, cover, weight"),
        (
            {"pages": {"one": {"word": 1}}},
            "pages.one.word: expected a known key, got 'word'; did you mean words?",
        ),
        (
            {"cover": {"sides": 1}},
            "cover.sides: expected a known key, got 'sides'; did you mean side?",
        ),
        ({"weight": "a\nb"}, r"weight: expected a whole number, got 'a\nb'"),
        ({"weight": 1.5}, "weight: expected a whole number, got 1.5"),
        ({"weight": torch.zeros(2, 9)}, "weight: expected a whole number, got tensor([[0., 0., "),
        ({"pages": 1}, "pages: expected a table of keys, got 1"),
        ({"cover": 1}, "cover: expected a table of keys, got 1"),
        ({"cover": {"wide": 7}}, "cover.wide: expected true or false, got 7"),
        ({"cover": {"words": 7}}, "cover.words: expected a list, got 7"),
        ({"cover": {"words": [7]}}, "cover.words.0: expected text, got 7"),
        ({"cover": {"words": "abc"}}, "cover.words: expected a list, got 'abc'"),
        ({"cover": {"words": ["a"] * 3}}, "cover.words: expected two words, got 3"),
        ({"cover": {"scale": "x"}}, "cover.scale: expected a number, got 'x'"),
        ({"cover": {"scale": 0}}, "cover.scale: expected more than 0.0, got 0"),
        ({"cover": {"scale": 9}}, "cover.scale: expected less than 9.0, got 9"),
        ({"cover": {"side": "up"}}, "cover.side: expected 'left' or 'right', got 'up'"),
    ],
)
def test_wrong_fields_are_named_in_the_words_of_all_errors(fields: dict[str, Any], says: str):
    with pytest.raises(SettingsError) as refused:
        read_fields(Book, fields, name="x", error=SettingsError)
    assert str(refused.value).startswith(f"x: {says}")
    assert "\n" not in str(refused.value)


def test_a_model_made_in_python_is_refused_in_the_same_words():
    fields: dict[str, Any] = {"wid": True}
    with pytest.raises(InputError, match=r"^Page: wid: .*'wid'; did you mean wide\?$"):
        Page(**fields)


def test_a_model_within_a_model_is_refused_with_its_place():
    fields: dict[str, Any] = {"pages": {"a": {"wide": 7}}, "w": 1}
    with pytest.raises(InputError, match=r"^Book: 2 problems\n  - pages\.a\.wide: .*\n  - w: "):
        Book(**fields)


def test_problems_beyond_twenty_are_counted():
    fields = {"format": 1, "name": "a", **dict.fromkeys((f"f{i}" for i in range(25)), 1)}
    with pytest.raises(SettingsError, match=r"flags: 21 problems[^$]*and 5 more$"):
        read_fields(Sheet, fields, name="flags", error=SettingsError)


def test_toml_is_read_with_the_same_words(tmp_path):
    (tmp_path / "a.toml").write_text('format = 1\nname = "a"\n')
    assert load_toml(Sheet, tmp_path / "a.toml", SettingsError, "a sheet").name == "a"
    (tmp_path / "a.toml").write_text("format = 1\nelse = 1\n")
    with pytest.raises(SettingsError, match=r"a\.toml: 2 problems\n  - name: .*\n  - else: "):
        load_toml(Sheet, tmp_path / "a.toml", SettingsError, "a sheet")
    (tmp_path / "a.toml").write_text("format")
    with pytest.raises(SettingsError, match=r"a\.toml: expected a sheet in TOML \("):
        load_toml(Sheet, tmp_path / "a.toml", SettingsError, "a sheet")


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 3000}{']' * 3000}",
        f"a = {'[' * 150}{']' * 150}",
        f"{'a.' * 400_000}a = 1",
        f"{'a . ' * 400}a = 1",
        f"[{'a.' * 400}a]",
        f"[[{'a.' * 400}a]]",
        f"a = {{{'b.' * 400}a = 1}}",
        f"a = {{b = 1,{'c.' * 400}a = 1}}",
    ],
)
def test_toml_that_is_nested_too_deep_is_refused(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"a\.toml: expected a sheet in TOML \(nested too deep"):
        load_toml(Sheet, tmp_path / "a.toml", SettingsError, "a sheet")


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9223372036854775808", "0o1" + "0" * 40])
def test_a_number_of_more_than_64_bits_is_refused(tmp_path, number):
    (tmp_path / "a.toml").write_text(f"width = [{{x = {number}}}]\n")
    with pytest.raises(SettingsError, match="a whole number needs more than 64 bits"):
        load_toml(Sheet, tmp_path / "a.toml", SettingsError, "a sheet")


def test_sentences_in_toml_are_no_deep_keys(tmp_path):
    (tmp_path / "a.toml").write_text('text = "' + "One two. Three... " * 200 + '"\n')
    assert len(str(load_tables(tmp_path / "a.toml", SettingsError, "a sheet")["text"])) == 3600


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 250, 100_000])
def test_json_that_is_nested_too_deep_is_refused(depth):
    objects = '{"a":' * depth + "1" + "}" * depth
    lists = '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    for text in (objects, lists):
        if depth <= MAX_DEPTH:
            assert parse_object(text.encode())
            continue
        with pytest.raises(ValueError, match="expected JSON of at most 100 levels"):
            parse_object(text.encode())


def test_a_safetensors_file_gives_back_its_document_and_tensors():
    sheet, tensors = Sheet(format=1, name="a"), {"a": torch.arange(3.0), "b": torch.ones(1, 2)}
    file = SafetensorsFile(safetensors_bytes(tensors, "k", sheet.spelled()), "x", SettingsError)
    assert file.document(Sheet, "k") == sheet
    assert all(torch.equal(file.tensors()[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(SettingsError, match="x: __metadata__: expected exactly the key 'other'"):
        file.document(Sheet, "other")


def test_tensors_are_compared_with_what_must_be_there():
    tensors = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int8), "c": torch.ones(3)}
    shapes = {"a": (2,), "b": (2,), "c": (2,), "d": (1,)}
    problems, sound = tensor_problems(tensors, shapes, {"a": torch.uint8})
    assert problems == [
        "d: missing",
        "a: expected uint8, got float32",
        "b: expected float32, got int8",
        "c: expected shape (2,), got (3,)",
    ]
    assert sound == set()
    assert tensor_problems(tensors, {"c": (3,)})[1] == {"c"}
