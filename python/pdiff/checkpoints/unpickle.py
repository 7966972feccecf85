"""`python -m pdiff.checkpoints.unpickle FILE OUT`: load FILE by running whatever it says, write its weights.

The only place where code from a file runs, and it is a process of its own: `pdiff convert` starts it when it
is told to trust the file. Not imported by anything.
"""

import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any

_AVERAGED = ("state_dict_ema", "model_ema", "ema")
_PLAIN = ("state_dict", "model", "module")


def main(file: str, out: str, key: str, ema: str) -> None:
    """Write the weights of `file` to safetensors `out`, the numbers beside them as metadata."""
    import torch
    from safetensors.torch import save_file

    warnings.simplefilter("ignore")
    content = torch.load(file, map_location="cpu", weights_only=False)  # TorchScript too
    where, weights = _weights(content, key, ema)
    if not weights:
        sys.exit(f"no weights found{f' under {key}' if key else ''}; got {type(content).__name__}")
    tensors = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    save_file(tensors, out, {"pdiff.key": json.dumps(where), **_numbers(content)})


def _weights(content: Any, key: str, ema: str) -> tuple[str, dict[str, Any]]:
    """Return the weights wanted and the key they are under."""
    if key:
        for part in key.split("."):
            content = content.get(part) if isinstance(content, Mapping) else getattr(content, part, None)
        return key, _tensors(content)
    for name in {"no": _PLAIN, "yes": _AVERAGED}.get(ema, _AVERAGED + _PLAIN):
        if isinstance(content, Mapping) and (weights := _tensors(content.get(name))):
            return name, weights
    return "", {} if ema == "yes" else _tensors(content)


def _tensors(value: Any) -> dict[str, Any]:
    """Return the tensors of a module or a dictionary by name; empty if it is neither."""
    import torch

    if callable(getattr(value, "state_dict", None)):
        value = value.state_dict()
    if not isinstance(value, Mapping):
        return {}
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def _numbers(content: Any) -> dict[str, str]:
    """Return the plain numbers at the top of the file (accuracy, step), as text."""
    if not isinstance(content, Mapping):
        return {}
    plain = {k: v for k, v in content.items() if isinstance(k, str) and type(v) in {int, float}}
    return {name: repr(value) for name, value in plain.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
