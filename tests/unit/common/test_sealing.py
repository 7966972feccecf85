"""Records that notice a change in themselves."""

import json
from pathlib import Path

import msgspec
import pytest

from pdiff.common.errors import InputError
from pdiff.common.sealing import read_sealed, write_sealed


class Record(msgspec.Struct):
    name: str
    values: list[int] = []


def test_a_sealed_record_reads_back_and_is_plain_json(tmp_path: Path) -> None:
    write_sealed(tmp_path / "r.json", Record('"checksum": "', [1, 2]))
    assert read_sealed(tmp_path / "r.json", Record) == Record('"checksum": "', [1, 2])
    plain = msgspec.json.decode((tmp_path / "r.json").read_bytes())
    assert list(plain) == ["name", "values", "checksum"]
    assert len(plain["checksum"]) == 64


class Inner(msgspec.Struct, rename={"name": "task"}):
    name: str
    size: float | None = None


class Outer(msgspec.Struct):
    inner: Inner
    parts: tuple[Inner, ...] = ()
    counts: dict[str, int] = {}


def test_records_within_records_are_written_as_msgspec_would(tmp_path: Path) -> None:
    record = Outer(Inner("é"), (Inner("a", 1e-5), Inner("b", 0.1)), {"x": 1})
    write_sealed(tmp_path / "r.json", record)
    assert read_sealed(tmp_path / "r.json", Outer) == record
    text = (tmp_path / "r.json").read_text()
    plain = msgspec.to_builtins(record) | {"checksum": json.loads(text)["checksum"]}
    assert text == json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, Record("x", [1]))
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with pytest.raises(InputError, match="r.json: damaged"):
                read_sealed(path, Record)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"name": "x"}', b'{"name": "x", "checksum": "', b"\xff"])
def test_what_was_never_sealed_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match="r.json: damaged"):
        read_sealed(tmp_path / "r.json", Record)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_sealed(tmp_path / "r.json", {"x": float("nan")})
