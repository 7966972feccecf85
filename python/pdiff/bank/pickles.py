"""PyTorch checkpoint files (`.pth` and kin), read with `weights_only=True` and restated as safetensors."""

import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.artifacts import write_tensors
from pdiff.errors import InputError

__all__ = ["restate"]

_NESTED = ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "module")
_PREFIXES = ("module.", "_orig_mod.")


def restate(source: str, path: Path, out: Path) -> None:
    """Write the weights of torch file `path` to safetensors file `out`, numbers beside them as metadata.

    No code from the file runs. Raises `InputError` if the file holds anything but plain data, or no weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError:
        raise InputError(
            f"{source}: not a PyTorch file of plain data (torch.load with weights_only=True refuses it)"
        ) from None
    except Exception as error:  # torch raises many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{source}: not a readable PyTorch file ({reason})") from None
    weights = _weights(content)
    if not weights:
        raise InputError(
            f"{source}: no weights found; looked at the top level and under {', '.join(_NESTED)}"
        )
    write_tensors(out, _plain(source, weights), _numbers(content))


def _plain(source: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under plain names, each with memory of its own."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        plain = _plain_name(name)
        if plain in tensors:
            raise InputError(f"{source}: {plain} is there twice, with and without a prefix")
        if tensor.is_quantized or tensor.is_meta:
            raise InputError(f"{source}: {plain} is quantised or has no data; plain tensors are accepted")
        tensors[plain] = tensor.clone()
    return tensors


def _numbers(content: Mapping[Any, Any]) -> dict[str, str]:
    """Return the plain numbers beside the weights (accuracy, step), as metadata."""
    numbers = {}
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):
                numbers[key] = repr(float(value))
    return numbers


def _weights(content: Any) -> dict[str, Tensor]:
    """Return the tensors of the most specific known entry: EMA weights first, the top level last."""
    if not isinstance(content, Mapping):
        return {}
    for key in _NESTED:
        if (nested := _tensors(content.get(key))) is not None:
            return nested
    return _tensors(content) or {}


def _tensors(value: Any) -> dict[str, Tensor] | None:
    """Return `value` if it is a mapping of names to dense tensors."""
    if not isinstance(value, Mapping) or not value:
        return None
    if all(
        isinstance(k, str) and isinstance(v, Tensor) and v.layout == torch.strided for k, v in value.items()
    ):
        return dict(value)
    return None


def _plain_name(name: str) -> str:
    """Strip the prefixes that DataParallel and torch.compile put before a name."""
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name
