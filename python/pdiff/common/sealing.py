"""Notice any change in files: records carry a checksum of themselves, and digests of other files."""

import functools
import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pdiff import _core
from pdiff.common.errors import InputError

Record = TypeVar("Record")

_FIELD = b'"checksum": "'
_DIGITS = 64


def write_sealed(path: Path, value: Any) -> None:
    """Write a record, durably, as indented JSON whose last field is the BLAKE3 of all the rest.

    Memory does not grow beyond some copies of the text, however many records are in the record. Raises
    `ValueError` for NaN and infinities.
    """
    content = {**(value if isinstance(value, dict) else _fields(value)), "checksum": ""}
    line = json.dumps(
        content, ensure_ascii=False, allow_nan=False, default=_fields
    )  # indented, it takes longer
    text = bytearray(msgspec.json.format(line.encode(), indent=1))
    text += b"\n"
    place = text.rindex(_FIELD) + len(_FIELD)
    text[place:place] = _core.digest(text).encode()
    _core.write_file(path, text)


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record one level deep; what is in it is asked for when its turn comes."""
    return {written: getattr(record, name) for name, written in _names(type(record))}


@functools.cache
def _names(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [(field.name, field.encode_name) for field in msgspec.structs.fields(kind)]


class _Versioned(msgspec.Struct):
    format: int


def decoded(path: Path, data: bytes, kind: type[Record]) -> Record:
    """Decode JSON that was read from `path`; raises `InputError` naming the place if it is damaged."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({error})") from None


def unsealed(path: Path, data: bytes, kind: type[Record], version: int | None = None) -> Record:
    """Decode what `write_sealed` wrote to `path`; raises `InputError` if a single bit is another.

    With `version`, a record whose field `format` is another is refused as such, not as damaged.
    """
    if version is not None and (found := decoded(path, data, _Versioned).format) != version:
        raise InputError(f"{path}: format {found}, this version reads {version}; make it again")
    record = decoded(path, data, kind)
    place = data.rfind(_FIELD) + len(_FIELD)
    rest = bytearray(data)
    checksum = rest[place : place + _DIGITS]
    del rest[place : place + _DIGITS]
    if place < len(_FIELD) or _core.digest(rest).encode() != checksum:
        raise InputError(f"{path}: damaged (its checksum differs)")
    return record


def read_sealed(path: Path, kind: type[Record], version: int | None = None) -> Record:
    """Read what `write_sealed` wrote, checked as `unsealed` does it."""
    return unsealed(path, path.read_bytes(), kind, version)


def check_digest(path: Path, digest: str, record: str) -> Path:
    """Return the path of a file that `record` names; `InputError` unless it has the digest given there."""
    try:
        found = _core.digest_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: gone, though {record} names it") from None
    if found != digest:
        raise InputError(f"{path}: damaged (its digest differs from that in {record})")
    return path
