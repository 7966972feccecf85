"""The files that `pdiff` leaves on disk: JSON and safetensors, written durably, the same bytes each time."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import safetensors.torch
from torch import Tensor

from pdiff import _core
from pdiff.errors import InputError

__all__ = ["read_record", "read_tensors", "relative", "write_json", "write_tensors"]

Record = TypeVar("Record")


def write_json(path: Path, value: Any) -> None:
    """Write `value`, plain or a struct, as indented JSON, durably; `ValueError` for NaN and infinities."""
    text = json.dumps(msgspec.to_builtins(value), indent=1, ensure_ascii=False, allow_nan=False)
    _core.write_file(path, (text + "\n").encode())


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file as `kind`; raises `InputError` naming the place if it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: damaged ({error})") from None


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors (moved to the CPU, made contiguous) as one safetensors file, durably."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _core.write_file(path, _in_order(safetensors.torch.save(plain, dict(metadata) if metadata else None)))


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: the library writes them in a random order.

    The same tensors and metadata then give the same bytes, and the same digest.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a whole safetensors file that `pdiff` wrote."""
    _core.read_header(path)
    return safetensors.torch.load_file(path)


def relative(target: Path, folder: Path) -> str:
    """Return `target` relative to `folder`, so that both can be moved together."""
    return os.path.relpath(target.resolve(), folder.resolve())
