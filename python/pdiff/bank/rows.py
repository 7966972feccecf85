"""From named tensors to a row of numbers, and back."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pdiff._core import Layout
from pdiff.common.artifacts import TORCH_DTYPES
from pdiff.common.errors import InputError
from pdiff.common.wording import shown

__all__ = ["flatten", "restore"]


def flatten(layout: Layout, state_dict: Mapping[str, Tensor]) -> Tensor:
    """Concatenate the layout's tensors of a state dict: → float32 [D]; raises `InputError` if one differs."""
    parts = []
    for segment in layout.segments:
        tensor = state_dict.get(segment.name)
        if tensor is None or tuple(tensor.shape) != segment.shape:
            found = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise InputError(f"tensor {shown(segment.name)} {found}; the bank holds {segment.shape}")
        parts.append(tensor.detach().reshape(-1).float())
    return torch.cat(parts)


def restore(layout: Layout, row: Tensor) -> dict[str, Tensor]:
    """Cut a raw row [D] into named tensors with the source's shapes and dtypes; inverse of `flatten`.

    Raises `InputError` if a value does not fit the dtype (float16 overflows at 65,504).
    """
    if row.shape != (layout.dim,):
        raise ValueError(f"a row of {layout.dim} numbers is wanted, not {tuple(row.shape)}")
    tensors = {}
    for segment in layout.segments:
        values = row[segment.begin : segment.end]
        tensor = values.to(TORCH_DTYPES[segment.dtype]).reshape(segment.shape).clone()
        if segment.dtype in {"F16", "BF16"} and not bool(tensor.isfinite().all()):
            largest = float(values.abs().max()) if values.numel() else math.nan
            raise InputError(f"tensor {shown(segment.name)}: {largest:g} does not fit {segment.dtype}")
        tensors[segment.name] = tensor
    return tensors
