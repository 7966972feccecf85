"""Write and read the files that `pdiff` leaves: JSON and safetensors, durable, the same bytes each time."""

import json
import math
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from pdiff import _core
from pdiff.common.errors import InputError
from pdiff.common.sealing import decoded
from pdiff.common.wording import shown

Record = TypeVar("Record")

_READ_BYTES = 64 * 2**20

TORCH_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz},
    **{"F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
    **{"C64": torch.complex64, "BOOL": torch.bool},
}
_CORE_DTYPES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def write_json(path: Path, value: Any) -> None:
    """Write `value`, plain or a struct, as indented JSON, durably; `ValueError` for NaN and infinities."""
    text = json.dumps(msgspec.to_builtins(value), indent=1, ensure_ascii=False, allow_nan=False)
    _core.write_file(path, (text + "\n").encode())


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file as `kind`; raises `InputError` naming the place if it is damaged."""
    return decoded(path, path.read_bytes(), kind)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors (moved to the CPU, made contiguous) as one safetensors file, durably.

    Tensors that share memory are written under each of their names.
    """
    entries = []
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        data = own.reshape(-1).view(torch.uint8).numpy()
        entries.append((name, _CORE_DTYPES[own.dtype], tuple(own.shape), data))
    _core.write_tensors(path, entries, metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a whole safetensors file that `pdiff` wrote."""
    _core.Checkpoint([path])  # refuses a malformed header with a message that names the file
    return safetensors.torch.load_file(path)


def read_checkpoint(
    files: Sequence[Path],
    keys: Sequence[str] = (),
    names: Container[str] | None = None,
    ema: bool | None = None,
) -> dict[str, Tensor]:
    """Read the weights of a checkpoint of any format, plain names → tensors; tied ones share memory.

    `keys` and `ema` say what is meant of several weights in one file, as an `Origin` has them. With `names`
    only those are read, and what they are tied to. Raises `InputError` for what is refused.
    """
    checkpoint = _core.Checkpoint(files, keys=keys, ema=ema)
    infos = checkpoint.tensors
    if names is not None:
        owners = {info.tied_to for info in infos if info.name in names}
        infos = [info for info in infos if info.name in names or info.name in owners]
    for info in infos:
        if info.dtype not in TORCH_DTYPES:
            raise InputError(f"{files[0]}: {shown(info.name)} is {info.dtype}, which torch has no dtype for")
    tensors: dict[str, Tensor] = {}
    for part in _parts([info for info in infos if info.tied_to is None]):
        for info, data in zip(part, checkpoint.read_many([info.name for info in part]), strict=True):
            dtype = TORCH_DTYPES[info.dtype]
            flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
            tensors[info.name] = flat.reshape(info.shape)
    return {info.name: tensors[info.tied_to or info.name] for info in infos}


def _parts(infos: Sequence[_core.TensorInfo]) -> Iterator[list[_core.TensorInfo]]:
    """Yield tensors that are read together: many small ones or a large one, since they are copied once."""
    part: list[_core.TensorInfo] = []
    size = 0
    for info in infos:
        part.append(info)
        size += math.prod(info.shape) * TORCH_DTYPES[info.dtype].itemsize
        if size >= _READ_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def relative(target: Path, folder: Path) -> str:
    """Return `target` relative to `folder`, so that both can be moved together."""
    return os.path.relpath(target.resolve(), folder.resolve())
