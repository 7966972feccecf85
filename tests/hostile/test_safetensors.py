"""Malformed safetensors files, one for each rule of the format."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pdiff import _core
from tests.hostile.bounded import MIB, opened
from tests.hostile.files import THREE, safetensors, write
from tests.hostile.refusals import read_all, refusal


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def test_the_builder_writes_valid_files(tmp_path: Path) -> None:
    data = safetensors({"a": entry(0, 8), "b": entry(8, 12), "__metadata__": {"k": "v"}}, THREE)
    path = write(tmp_path / "a.safetensors", data)
    assert read_all(path) == {"a": THREE[:8], "b": THREE[8:]}


LAYOUTS = {
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, '"b" overlaps the tensor before it'),
    "same bytes": ({"a": entry(0, 12), "b": entry(0, 12)}, "overlaps the tensor before it"),
    "inside": ({"a": entry(0, 12), "b": entry(4, 8)}, '"b" overlaps the tensor before it'),
    "hole": ({"a": entry(0, 4), "b": entry(8, 12)}, '"b" leaves a hole before it'),
    "hole at the start": ({"a": entry(4, 12)}, '"a" leaves a hole before it'),
    "trailing bytes": ({"a": entry(0, 8)}, "followed by trailing bytes"),
    "nothing but bytes": ({}, "followed by trailing bytes"),
    "truncated": ({"a": entry(0, 16)}, "truncated: the tensors end at byte"),
    "far beyond": ({"a": entry(0, 2**60)}, "truncated: the tensors end at byte"),
    "beyond any file": ({"a": entry(2**64 - 4, 2**64 - 1, [3], "U8")}, '"a" ends beyond any file'),
    "backwards": ({"a": entry(12, 0, [3])}, '"a" has data_offsets [12, 0]'),
    "fewer bytes": ({"a": entry(0, 12, [2])}, '"a" has data_offsets [0, 12] but F32 [2] takes 8 bytes'),
    "more bytes": ({"a": entry(0, 12, [4])}, "F32 [4] takes 16 bytes"),
    "wider": ({"a": entry(0, 12, [3], "F64")}, "F64 [3] takes 24 bytes"),
    "product overflows": ({"a": entry(0, 12, [2**32, 2**32])}, "overflows"),
    "product wraps to 3": ({"a": entry(0, 12, [3, 2**63, 2])}, "overflows"),
    "bytes overflow": ({"a": entry(0, 12, [2**62 + 3])}, "overflows"),
    "overflow beside zero": ({"a": entry(0, 0, [0, 2**40, 2**40])}, "overflows"),
    "half a byte": ({"a": entry(0, 2, [3], "F4")}, "overflows"),
    "unknown dtype": ({"a": entry(0, 12, dtype="F33")}, '"a" has the unknown dtype "F33"'),
    "lower-case dtype": ({"a": entry(0, 12, dtype="f32")}, 'the unknown dtype "f32"'),
    "torch dtype": ({"a": entry(0, 12, dtype="torch.float32")}, 'the unknown dtype "torch.float32"'),
    "no name": ({"": entry(0, 12)}, 'tensor name "" is refused'),
    "NUL in a name": ({"a\0b": entry(0, 12)}, 'tensor name "a\\0b" is refused'),
    "negative size": ({"a": entry(0, 12, [-3])}, "malformed safetensors header"),
    "fractional size": ({"a": entry(0, 12, [3.0])}, "malformed safetensors header"),  # type: ignore[list-item]
    "huge size": ({"a": entry(0, 12, [2**64])}, "malformed safetensors header"),
    "too many axes": ({"a": entry(0, 4, [1] * 65)}, "more than 64 numbers"),
    "one offset": ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [12]}}, "needs data_offsets"),
    "no dtype": ({"a": {"shape": [3], "data_offsets": [0, 12]}}, '"a" has no dtype'),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 12]}}, '"a" has no shape'),
    "no offsets": ({"a": {"dtype": "F32", "shape": [3]}}, '"a" needs data_offsets'),
    "another field": ({"a": {**entry(0, 12), "code": "x"}}, 'has an unexpected "code"'),
    "not an object": ({"a": 5}, "malformed safetensors header"),
    "metadata that are no text": ({"a": entry(0, 12), "__metadata__": {"k": [1]}}, "has a list under"),
    "metadata that are no object": ({"a": entry(0, 12), "__metadata__": "x"}, "malformed safetensors header"),
}


@pytest.mark.parametrize(("header", "why"), LAYOUTS.values(), ids=LAYOUTS)
def test_tensors_must_cover_the_data_exactly(tmp_path: Path, header: dict[str, Any], why: str) -> None:
    message = refusal(write(tmp_path / "evil.safetensors", safetensors(header, THREE)))
    assert why in message


ONE = json.dumps(entry(0, 12))
OTHER = json.dumps(entry(12, 12))
TEXTS = {
    "duplicate key": (f'{{"a": {ONE}, "a": {OTHER}}}', 'duplicate key "a"'),
    "duplicate key, equal offsets": (f'{{"a": {ONE}, "a": {ONE}}}', 'duplicate key "a"'),
    "duplicate key, escaped": (f'{{"a": {ONE}, "\\u0061": {OTHER}}}', 'duplicate key "a"'),
    "duplicate field": ('{"a": {"dtype": "F32", "dtype": "F32", "shape": [3]}}', 'duplicate key "dtype"'),
    "duplicate metadata": (f'{{"__metadata__": {{}}, "__metadata__": {{}}, "a": {ONE}}}', "duplicate key"),
    "duplicate key in metadata": (f'{{"__metadata__": {{"k": "", "k": ""}}, "a": {ONE}}}', "duplicate key"),
    "a space before it": (f' {{"a": {ONE}}}', "not a safetensors"),
    "a list": (f'[{{"a": {ONE}}}]', "not a safetensors"),
    "a byte order mark": (f'\ufeff{{"a": {ONE}}}', "not a safetensors"),
    "no JSON": ("{'a': 1}", "malformed safetensors header"),
    "cut off": (f'{{"a": {ONE}', "malformed safetensors header"),
    "two objects": (f'{{"a": {ONE}}}{{}}', "malformed safetensors header"),
    "NUL padding": (f'{{"a": {ONE}}}\0\0', "malformed safetensors header"),
    "half a character": (f'{{"\\ud800": {ONE}}}', "malformed safetensors header"),
}


@pytest.mark.parametrize(("header", "why"), TEXTS.values(), ids=TEXTS)
def test_the_header_is_one_object_without_duplicates(tmp_path: Path, header: str, why: str) -> None:
    message = refusal(write(tmp_path / "evil.safetensors", safetensors(header, THREE)))
    assert why in message


def test_a_header_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    header = b'{"\xff": ' + ONE.encode() + b"}"
    message = refusal(write(tmp_path / "evil.safetensors", safetensors(header, THREE)))
    assert "malformed safetensors header" in message


@pytest.mark.parametrize("length", [200, 2**31, 100_000_001, 2**32 - 1])
def test_a_header_longer_than_the_file_or_the_format_is_refused(tmp_path: Path, length: int) -> None:
    data = safetensors({"a": entry(0, 12)}, THREE, length)
    outcome = opened(write(tmp_path / "evil.safetensors", data), room=64 * MIB)
    assert outcome.text.startswith("InputError: ")
    assert str(length) in outcome.text
    assert outcome.memory < 8 * MIB


@pytest.mark.parametrize("length", [2**32, 2**63, 2**64 - 1])
def test_a_header_of_an_absurd_length_is_refused(tmp_path: Path, length: int) -> None:
    message = refusal(write(tmp_path / "evil.safetensors", safetensors({"a": entry(0, 12)}, THREE, length)))
    assert "not a safetensors" in message or str(length) in message


def test_a_real_header_of_more_than_100_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000_001) + b"{")
    with path.open("r+b") as file:
        file.truncate(100_000_001 + 8)
    outcome = opened(path, room=64 * MIB)
    assert outcome.text.startswith("InputError: ")
    assert "100000001" in outcome.text
    assert outcome.memory < 8 * MIB
    assert outcome.seconds < 1


HUGE = {
    "open brackets": lambda size: b'{"a":' + b"[" * size,
    "open objects": lambda size: b'{"a":' * (size // 5),
    "empty tensors": lambda size: (
        b"{"
        + b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(size // 55))
    ),
    "a list of zeros": lambda size: b'{"a":{"shape":[' + b"0," * (size // 2),
    "spaces": lambda size: b"{" + b" " * size,
    "a text": lambda size: b'{"' + b"x" * size,
    "unknown fields": lambda size: b'{"a":{' + b'"x":[],' * (size // 7),
}


@pytest.mark.parametrize("content", HUGE.values(), ids=HUGE)
def test_a_header_of_almost_100_mb_takes_bounded_memory_and_time(tmp_path: Path, content: Any) -> None:
    header = content(99_900_000)[:99_900_000]
    outcome = opened(write(tmp_path / "evil.safetensors", safetensors(header)), room=800 * MIB)
    assert outcome.text.startswith("InputError: ")
    assert "malformed safetensors header" in outcome.text
    assert len(outcome.text) < 1000
    assert outcome.seconds < 10


def test_many_names_of_many_parts_take_a_small_multiple_of_the_header(tmp_path: Path) -> None:
    parts = b".a" * 62
    tensors = (b'"%x%s":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % (i, parts) for i in range(100_000))
    header = b"{" + b",".join(tensors) + b"}"
    outcome = opened(write(tmp_path / "a.safetensors", safetensors(header)), room=400 * MIB)
    assert outcome.text == "read"
    assert outcome.memory < 8 * len(header)


def test_more_tensors_than_any_network_has_are_refused(tmp_path: Path) -> None:
    tensors = (b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(1_250_000))
    header = b"{" + b",".join(tensors) + b"}"
    outcome = opened(write(tmp_path / "a.safetensors", safetensors(header)), room=400 * MIB)
    assert outcome.text.startswith("InputError: ")
    assert "has more than 131072 tensors" in outcome.text
    assert outcome.memory < 3 * len(header)


def test_more_free_text_than_anybody_writes_is_refused(tmp_path: Path) -> None:
    header = {"__metadata__": {str(i): "" for i in range(100_001)}}
    assert "more than 100000 entries" in refusal(write(tmp_path / "a.safetensors", safetensors(header)))


def test_a_name_that_is_a_path_is_only_a_name(tmp_path: Path) -> None:
    names = ["../../x", "/etc/passwd", "C:\\x", "a b", "é\u202e", "a/../b"]
    header = {name: entry(2 * i, 2 * i + 2, [2], "U8") for i, name in enumerate(names)}
    path = write(tmp_path / "names.safetensors", safetensors(header, THREE))
    assert read_all(path).keys() == set(names)
    _core.write_checkpoint(tmp_path / "copy.safetensors", _core.Checkpoint([path]).origin)
    assert read_all(tmp_path / "copy.safetensors") == read_all(path)
    assert {p.name for p in tmp_path.iterdir()} == {"names.safetensors", "copy.safetensors"}
