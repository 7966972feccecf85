"""Write and read the records that `pdiff` leaves: JSON, durable, the same bytes each time."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pdiff import _core
from pdiff.common.sealing import decoded

Record = TypeVar("Record")


def write_json(path: Path, value: Any) -> None:
    """Write `value`, plain or a struct, as indented JSON, durably; `ValueError` for NaN and infinities."""
    text = json.dumps(msgspec.to_builtins(value), indent=1, ensure_ascii=False, allow_nan=False)
    _core.write_file(path, (text + "\n").encode())


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file as `kind`; raises `InputError` naming the place if it is damaged."""
    return decoded(path, path.read_bytes(), kind)


def relative(target: Path, folder: Path) -> str:
    """Return `target` relative to `folder`, so that both can be moved together."""
    return os.path.relpath(target.resolve(), folder.resolve())
