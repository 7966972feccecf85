"""`python -m pdiff.checkpoints.unpickle`: load files by running whatever they say, write their weights.

The only place where code from a file runs, and each file has a process of its own: `pdiff convert` starts
this one when it is told to trust the files, and it forks for each. Not imported by anything.
"""

import json
import os
import pickle
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_AVERAGED = ("state_dict_ema", "model_ema", "ema")
_PLAIN = ("state_dict", "model", "module")
_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""With it a pickle begins that `torch.save` wrote before it wrote archives."""
_PREFIX = 32
_SAID = 4096
"""Bytes of what a process has said that are passed on, the last ones."""


def serve() -> list[str] | None:
    """Return, in a process of its own, the arguments of `main` on each line of stdin, an array in JSON.

    What became of it is written to stdout: its exit code, negative for a signal, and what it said, in JSON.
    At the end of stdin returns None, in the first process; SIGTERM ends the file that is being loaded.
    """
    import pdiff.common.tensors  # noqa: F401 (so that the forks have torch)

    child = 0

    def stop(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    for line in sys.stdin.buffer:
        arguments: list[str] = json.loads(line)
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                _stand_alone(errors.fileno())
                return arguments
            _, status = os.waitpid(child, 0)
            child = 0
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _SAID))
            said = errors.read().decode("utf-8", "replace")
        print(json.dumps([os.waitstatus_to_exitcode(status), said]), flush=True)
    return None


def _stand_alone(errors: int) -> None:
    """Take the pipes of the first process from its fork: what a file prints is no answer."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for target, own in enumerate((null, null, errors)):
        os.dup2(own, target)


def main(file: str, out: str, key: str, ema: str) -> None:
    """Write the weights of `file` to safetensors `out`, the numbers beside them as metadata."""
    from pdiff.common.tensors import write_tensors

    warnings.simplefilter("ignore")
    content = _joined(file, f"{out}.pt") if Path(file).is_dir() else _loaded(file)
    where, weights = _weights(content, key, ema)
    if not weights:
        sys.exit(f"no weights found{f' under {key}' if key else ''}; got {type(content).__name__}")
    tensors = {name: _dense(value).detach().clone().contiguous() for name, value in weights.items()}
    write_tensors(Path(out), tensors, {"pdiff.key": json.dumps(where), **_numbers(content)})


def _joined(folder: str, file: str) -> Any:
    """Return what torch.distributed.checkpoint wrote to a folder, by way of a file."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(folder, file)
    return _loaded(file)


def _loaded(file: str) -> Any:
    """Return what a file holds: torch's own (TorchScript too), or a plain pickle, of NumPy arrays perhaps."""
    import torch

    with Path(file).open("rb") as opened:
        begin = opened.read(_PREFIX)
        if begin[:1] == b"\x80" and _MAGIC not in begin:
            opened.seek(0)
            # What Python 2 wrote as `str` may be bytes; others have none of those.
            return pickle.load(opened, encoding="latin1")  # noqa: S301 (this is what the user asked for)
    return torch.load(file, map_location="cpu", weights_only=False)


def _dense(tensor: Any) -> Any:
    """Return an ordinary tensor: for a distributed one the whole, for a quantised one its numbers."""
    import torch

    if callable(whole := getattr(tensor, "full_tensor", None)):
        return whole()
    quantised = type(tensor).dequantize is not torch.Tensor.dequantize or tensor.is_quantized
    return tensor.dequantize() if quantised else tensor


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
    """Return the tensors of a module or a dictionary by name, arrays as tensors; empty if it is neither."""
    if callable(getattr(value, "state_dict", None)):
        value = value.state_dict()
    if not isinstance(value, Mapping):
        return {}
    tensors = {name: _tensor(inner) for name, inner in value.items() if isinstance(name, str)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _tensor(value: Any) -> Any:
    """Return a tensor, or an array of numbers as one; None for anything else."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return None
    try:
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    except TypeError:  # float128
        return None


def _numbers(content: Any) -> dict[str, str]:
    """Return the plain numbers at the top of the file (accuracy, step), as text."""
    if not isinstance(content, Mapping):
        return {}
    plain = {k: v for k, v in content.items() if isinstance(k, str) and type(v) in {int, float}}
    return {name: repr(value) for name, value in plain.items()}


if __name__ == "__main__" and (arguments := serve()) is not None:
    main(*arguments)
    os._exit(0)  # taking torch apart takes a fork seconds
