"""Hold, read and write tensors without torch, as NumPy arrays beside the safetensors name of their dtype.

NumPy has no bfloat16 and no float8: their bits are unsigned integers here.
"""

import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdiff import _core
from pdiff.common.errors import InputError
from pdiff.common.wording import shown

_READ_BYTES = 64 * 2**20
_BLOCK = 2**16

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    **{"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")},
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), np.dtype("u1")),
    **{"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1")},
    **{"U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1")},
    **{"C64": np.dtype("<c8"), "BOOL": np.dtype("?")},
}
"""What holds each dtype that a checkpoint may have; torch knows all of them."""

Bits = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Array:
    """One tensor; names that are tied share one of these."""

    dtype: str
    values: Bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its axes, the sizes."""
        return self.values.shape

    def is_finite(self) -> bool:
        """Return whether no value of a floating dtype of 16 bits or more is NaN or infinite."""
        if self.dtype == "BF16":
            return bool(((self.values & 0x7F80) != 0x7F80).all())
        return bool(np.isfinite(self.values).all())

    def floats(self) -> npt.NDArray[np.float32]:
        """Return the numbers of a floating dtype of 16 bits or more as float32, new memory, flat."""
        flat = self.values.reshape(-1)
        if self.dtype == "BF16":
            return (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.astype(np.float32)


Arrays = dict[str, Array]


def rounded(numbers: npt.NDArray[np.float32], dtype: str, shape: Sequence[int]) -> Array:
    """Round float32 numbers to a floating dtype (to the nearest, ties to even), in new memory.

    What is too large becomes infinite.
    """
    if dtype != "BF16":
        with np.errstate(over="ignore"):
            return Array(dtype, numbers.astype(NUMPY_DTYPES[dtype]).reshape(shape))
    found = np.empty(len(numbers), dtype=np.uint16)
    for begin in range(0, len(numbers), _BLOCK):  # which stay in the cache
        bits = np.ascontiguousarray(numbers[begin : begin + _BLOCK]).view(np.uint32)
        half = np.uint32(0x7FFF) + ((bits >> 16) & 1)
        is_nan = np.isnan(numbers[begin : begin + _BLOCK])
        found[begin : begin + _BLOCK] = np.where(is_nan, 0x7FC0, (bits + half) >> 16)
    return Array(dtype, found.reshape(shape))


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, durably; tied ones under each of their names."""
    entries = [
        (name, array.dtype, array.shape, np.ascontiguousarray(array.values).reshape(-1).view(np.uint8))
        for name, array in arrays.items()
    ]
    _core.write_tensors(path, entries, metadata)


def read_arrays(path: Path) -> Arrays:
    """Read a whole safetensors file that `pdiff` wrote, under the names that it has there."""
    _core.Checkpoint([path])  # refuses a malformed header with a message that names the file
    found: Arrays = {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
        entries.pop("__metadata__", None)
        for name, entry in entries.items():
            file.seek(8 + size + entry["data_offsets"][0])
            values = np.fromfile(file, NUMPY_DTYPES[entry["dtype"]], math.prod(entry["shape"]))
            found[name] = Array(entry["dtype"], values.reshape(entry["shape"]))
    return found


def read_weights(
    files: Sequence[Path],
    keys: Sequence[str] = (),
    names: Container[str] | None = None,
    ema: bool | None = None,
) -> Arrays:
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
        if info.dtype not in NUMPY_DTYPES:
            raise InputError(f"{files[0]}: {shown(info.name)} is {info.dtype}, which torch has no dtype for")
    arrays: Arrays = {}
    for part in _parts([info for info in infos if info.tied_to is None]):
        for info, data in zip(part, checkpoint.read_many([info.name for info in part]), strict=True):
            values = np.frombuffer(bytearray(data), dtype=NUMPY_DTYPES[info.dtype])
            arrays[info.name] = Array(info.dtype, values.reshape(info.shape))
    return {info.name: arrays[info.tied_to or info.name] for info in infos}


def _parts(infos: Sequence[_core.TensorInfo]) -> Iterator[list[_core.TensorInfo]]:
    """Yield tensors that are read together: many small ones or a large one, since they are copied once."""
    part: list[_core.TensorInfo] = []
    size = 0
    for info in infos:
        part.append(info)
        size += math.prod(info.shape) * NUMPY_DTYPES[info.dtype].itemsize
        if size >= _READ_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
