"""Tensors as the buffers that the core writes to."""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["accepted", "lend"]


def accepted(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a batch, if it can be one; raises `ValueError`."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype {dtype}; accepted: torch.float32, torch.bfloat16")
    return dtype


def lend(out: Tensor, dtype: torch.dtype | None = None) -> npt.NDArray[Any]:
    """Return the memory of `out` as an array: float32, or the bits of bfloat16 as uint16.

    Raises `ValueError` for a tensor that the core cannot write to, and for one that is not `dtype`, if given.
    """
    if accepted(out.dtype) != (dtype or out.dtype):
        raise ValueError(f"out is {out.dtype}; accepted: {dtype}, as asked for")
    if out.device.type != "cpu":
        raise ValueError(f"out is on {out.device}; accepted: cpu")
    if out.requires_grad:
        raise ValueError("out requires grad; accepted: a tensor that does not")
    bits = out.view(torch.uint16) if out.dtype == torch.bfloat16 else out
    array: npt.NDArray[Any] = bits.numpy()
    return array
