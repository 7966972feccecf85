"""Score networks: load weights, judge the outputs sample by sample, and reduce that to one number."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.common.blame import blamed
from pdiff.common.errors import InputError, UsageError
from pdiff.common.wording import shown, some
from pdiff.tasks import calls
from pdiff.tasks.base import Task
from pdiff.tasks.data import SplitData, count, moved

_NAMED = 2
"""Tensors that a message names; of others it says how many."""


def wrong(task: Task, outputs: Any, targets: Any) -> Tensor:
    """Return which parts of B samples are wrong: bool [B, S]; `UsageError` for errors of another shape."""
    error = calls.error(task, outputs, targets)
    if not isinstance(error, Tensor):
        raise UsageError(f"task {task.name}: error() returned a {type(error).__name__}; a tensor is wanted")
    if error.dim() not in (1, 2) or len(error) != count(targets):
        raise UsageError(
            f"task {task.name}: error() returned {list(error.shape)}; "
            f"[{count(targets)}] or [{count(targets)}, S] is wanted"
        )
    found = error if error.dtype == torch.bool else ~(error <= task.tolerance)  # NaN is wrong
    return found.view(len(found), -1)


def measured(task: Task, outputs: Any, targets: Any) -> Tensor | None:
    """Return what the task's metric measures on B samples: f32 [B, S]; None for a task without a metric."""
    if task.metric is None:
        return None
    with blamed(f"task {task.name}: the metric {task.metric.name}"):
        found = task.metric.measure(outputs, targets)
    if found.dim() != 2 or len(found) != count(targets):
        raise UsageError(
            f"task {task.name}: the metric {task.metric.name} measured {list(found.shape)}; "
            f"[{count(targets)}, S] is wanted"
        )
    return found.float()


def score(task: Task, network: nn.Module, data: SplitData, batch_size: int = 1_000) -> float:
    """Return the score of a network in eval mode: the task's metric, or the share that is right."""
    return reduced(task, judged(task, network, data, batch_size))


@torch.inference_mode()
def judged(task: Task, network: nn.Module, data: SplitData, batch_size: int = 1_000) -> Tensor:
    """Return what the score of a network in eval mode is computed from: f32 or bool [N, S] on the CPU."""
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    parts = []
    for inputs, targets in data.batches(batch_size):
        outputs, there = calls.forward(network, moved(inputs, device, copy=True)), moved(targets, device)
        found = measured(task, outputs, there)
        parts.append((wrong(task, outputs, there) if found is None else found).cpu())
    return torch.cat(parts)


def reduced(task: Task, judged: Tensor) -> float:
    """Return the score of what was `judged` [N, S], or of samples drawn from it."""
    return int((~judged).sum()) / judged.numel() if task.metric is None else task.metric.reduce(judged)


def load(network: nn.Module, state_dict: Mapping[str, Tensor], name: str) -> None:
    """Load a checkpoint strictly; the error says in one line how the network and the checkpoint differ."""
    try:
        network.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        reasons = _differences(network.state_dict(), state_dict) or shown(" ".join(str(error).split()))
        raise InputError(
            f"the network {name!r} does not take the checkpoints: {reasons}; "
            "say which network they are of with --task and --arch"
        ) from None


def _differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """Say which tensors only one of network and checkpoints has, else which have other shapes in them."""
    parts = [
        f"{whose} {some(only, _NAMED)}"
        for whose, only in (
            ("only it has", [name for name in ours if name not in theirs]),
            ("only they have", sorted(theirs.keys() - ours.keys())),
        )
        if only
    ]
    shapes = [
        f"{shown(name)} (it {_shape(tensor)}, they {_shape(theirs[name])})"
        for name, tensor in ours.items()
        if name in theirs and tensor.shape != theirs[name].shape
    ]
    if shapes and not parts:
        parts.append(f"of other shapes {some(shapes, _NAMED)}")
    return "; ".join(parts)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"
