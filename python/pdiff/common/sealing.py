"""JSON files that carry a checksum of themselves, so that a change anywhere in one is noticed."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pdiff import _core
from pdiff.common.errors import InputError

Record = TypeVar("Record")

_FIELD = b'"checksum": "'
_DIGITS = 64


def sealed(value: Any) -> bytearray:
    """Return `value`, a record, as indented JSON whose last field is the BLAKE3 of all the rest.

    Memory does not grow beyond the text, however many records are in the record. Raises `ValueError` for NaN
    and infinities.
    """
    content = {**(value if isinstance(value, dict) else _fields(value)), "checksum": ""}
    encoder = json.JSONEncoder(indent=1, ensure_ascii=False, allow_nan=False, default=_fields)
    text = bytearray()
    for piece in encoder.iterencode(content):
        text += piece.encode()
    text += b"\n"
    place = text.rindex(_FIELD) + len(_FIELD)
    text[place:place] = _core.digest(text).encode()
    return text


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record one level deep; what is in it is asked for when its turn comes."""
    return {field.encode_name: getattr(record, field.name) for field in msgspec.structs.fields(record)}


def unsealed(path: Path, data: bytes, kind: type[Record]) -> Record:
    """Decode what `sealed` returned, read from `path`; raises `InputError` if a single bit is another."""
    try:
        record = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({error})") from None
    place = data.rfind(_FIELD) + len(_FIELD)
    rest = bytearray(data)
    checksum = rest[place : place + _DIGITS]
    del rest[place : place + _DIGITS]
    if place < len(_FIELD) or _core.digest(rest).encode() != checksum:
        raise InputError(f"{path}: damaged (its checksum differs)")
    return record


def write_sealed(path: Path, value: Any) -> None:
    """Write a record with its checksum, durably; `ValueError` for NaN and infinities."""
    _core.write_file(path, sealed(value))


def read_sealed(path: Path, kind: type[Record], version: int | None = None) -> Record:
    """Read what `write_sealed` wrote; raises `InputError` naming the file if it is damaged.

    With `version`, a record whose field `format` is another is refused as such, not as damaged.
    """
    data = path.read_bytes()
    if version is not None:
        _check_version(path, data, version)
    return unsealed(path, data, kind)


class _Versioned(msgspec.Struct):
    format: int


def _check_version(path: Path, data: bytes, version: int) -> None:
    try:
        found = msgspec.json.decode(data, type=_Versioned).format
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({error})") from None
    if found != version:
        raise InputError(f"{path}: format {found}, this version reads {version}; make it again")
