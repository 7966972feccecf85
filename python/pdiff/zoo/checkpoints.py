"""A checkpoint of the zoo on disk, in either format."""

from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from pdiff import _core
from pdiff.common.artifacts import write_tensors

Format = Literal["safetensors", "pth"]
FORMATS: tuple[Format, ...] = get_args(Format)


def write_checkpoint(
    folder: Path, model: nn.Module, fmt: Format, *, step: int, run: int, metric: str, score: float
) -> None:
    """Write the whole state dict as `step-NNNNN.safetensors` or `.pth`, durably.

    `.safetensors` carries the score by the name of its metric, `step` and `run` as strings in its metadata;
    `.pth` is a dictionary with `state_dict` and the same three as numbers.
    """
    path = folder / f"step-{step:05d}.{fmt}"
    # Cloned, because safetensors refuses tied tensors that share memory.
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if fmt == "safetensors":
        write_tensors(path, state, {metric: f"{score:.6g}", "step": str(step), "run": str(run)})
        return
    buffer = BytesIO()
    torch.save({metric: score, "state_dict": state, "step": step, "run": run}, buffer)
    _core.write_file(path, buffer.getbuffer())
