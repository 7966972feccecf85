"""Read and write torch's tensors; what needs no torch works on `pdiff.common.arrays`."""

import io
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdiff import _core
from pdiff.common.arrays import NUMPY_DTYPES, Array, Arrays, read_arrays, read_weights, write_arrays

TORCH_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz},
    **{"F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
    **{"C64": torch.complex64, "BOOL": torch.bool},
}
_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def to_tensor(array: Array) -> Tensor:
    """Return a tensor of the same memory."""
    flat = torch.from_numpy(array.values.reshape(-1).view(np.uint8))
    return flat.view(TORCH_DTYPES[array.dtype]).reshape(array.values.shape)


def to_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return tensors of the same memory; tied names share one."""
    made = {id(array): to_tensor(array) for array in arrays.values()}
    return {name: made[id(array)] for name, array in arrays.items()}


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Return the tensors, moved to the CPU and made contiguous; tied names share one."""
    made: dict[int, Array] = {}
    for tensor in tensors.values():
        own = tensor.detach().cpu().contiguous()
        name = _NAMES[own.dtype]
        values = own.reshape(-1).view(torch.uint8).numpy().view(NUMPY_DTYPES[name])
        made[id(tensor)] = Array(name, values.reshape(tuple(own.shape)))
    return {name: made[id(tensor)] for name, tensor in tensors.items()}


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors (moved to the CPU, made contiguous) as one safetensors file, durably.

    Tensors that share memory are written under each of their names.
    """
    write_arrays(path, to_arrays(tensors), metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a whole safetensors file that `pdiff` wrote."""
    return to_tensors(read_arrays(path))


def torch_bytes(content: Any) -> memoryview:
    """Return what `torch.save` makes of `content`."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def write_torch(path: Path, content: Any) -> None:
    """Write what `torch.save` makes of `content`, durably."""
    _core.write_file(path, torch_bytes(content))


def read_checkpoint(
    files: Sequence[Path],
    keys: Sequence[str] = (),
    names: Container[str] | None = None,
    ema: bool | None = None,
) -> dict[str, Tensor]:
    """Read the weights of a checkpoint of any format as tensors; see `read_weights`."""
    return to_tensors(read_weights(files, keys, names, ema))
