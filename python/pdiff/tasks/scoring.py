"""Score a network's outputs: which samples are wrong, and how good the network is as one number."""

from typing import Any

import torch
from torch import Tensor, nn

from pdiff.common.errors import UsageError
from pdiff.tasks.base import Task
from pdiff.tasks.data import SplitData, count, moved


def wrong(task: Task, outputs: Any, targets: Any) -> Tensor:
    """Return which parts of B samples are wrong: bool [B, S]; `UsageError` for errors of another shape."""
    error = task.error(outputs, targets)
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
    found = task.metric.measure(outputs, targets)
    if found.dim() != 2 or len(found) != count(targets):
        raise UsageError(
            f"task {task.name}: the metric {task.metric.name} measured {list(found.shape)}; "
            f"[{count(targets)}, S] is wanted"
        )
    return found.float()


@torch.inference_mode()
def score(task: Task, network: nn.Module, data: SplitData, batch_size: int = 1_000) -> float:
    """Return the score of a network in eval mode: the task's metric, or the share that is right."""
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    parts = []
    for inputs, targets in data.batches(batch_size):
        outputs, targets = network(moved(inputs, device)), moved(targets, device)  # noqa: PLW2901
        found = measured(task, outputs, targets)
        parts.append((wrong(task, outputs, targets) if found is None else found).cpu())
    together = torch.cat(parts)
    if task.metric is not None:
        return task.metric.reduce(together)
    return int((~together).sum()) / together.numel()
