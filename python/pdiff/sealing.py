"""JSON files that carry a checksum of themselves, so that a change anywhere in one is noticed."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pdiff import _core
from pdiff.errors import InputError

__all__ = ["read_sealed", "sealed", "unsealed", "write_sealed"]

Record = TypeVar("Record")

_FIELD = b'"checksum": "'
_DIGITS = 64


def sealed(value: Any) -> bytes:
    """Return `value`, a record, as indented JSON whose last field is the BLAKE3 of all the rest.

    Raises `ValueError` for NaN and infinities.
    """
    content = {**msgspec.to_builtins(value), "checksum": ""}
    text = (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    place = text.rindex(_FIELD) + len(_FIELD)
    return text[:place] + _core.digest(text).encode() + text[place:]


def unsealed(path: Path, data: bytes, kind: type[Record]) -> Record:
    """Decode what `sealed` returned, read from `path`; raises `InputError` if a single bit is another."""
    try:
        record = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({error})") from None
    place = data.rfind(_FIELD) + len(_FIELD)
    checksum, rest = data[place : place + _DIGITS], data[:place] + data[place + _DIGITS :]
    if place < len(_FIELD) or _core.digest(rest).encode() != checksum:
        raise InputError(f"{path}: damaged (its checksum differs)")
    return record


def write_sealed(path: Path, value: Any) -> None:
    """Write a record with its checksum, durably; `ValueError` for NaN and infinities."""
    _core.write_file(path, sealed(value))


def read_sealed(path: Path, kind: type[Record]) -> Record:
    """Read what `write_sealed` wrote; raises `InputError` naming the file if it is damaged."""
    return unsealed(path, path.read_bytes(), kind)
