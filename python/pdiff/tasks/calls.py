"""Call what a task defines, so that an error in it is said in one line with the user's file and line.

Every function raises `UsageError` for whatever goes wrong inside.
"""

from typing import Any

from torch import Tensor, nn

from pdiff.common.blame import blamed
from pdiff.common.errors import UsageError
from pdiff.tasks.base import Task


def build(task: Task, arch: str) -> nn.Module:
    """Return a network of a task, freshly initialised."""
    what = f"task {task.name}: build({arch!r})"
    with blamed(what):
        network: Any = task.build(arch)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{what} returned a {type(network).__name__}; a torch.nn.Module is wanted")
    return network


def forward(network: nn.Module, inputs: Any) -> Any:
    """Return a network's outputs on a batch."""
    with blamed(f"the forward of the network ({type(network).__name__})"):
        return network(inputs)


def loss(task: Task, outputs: Any, targets: Any) -> Tensor:
    """Return a task's training loss of a batch, a scalar."""
    with blamed(f"task {task.name}: loss()"):
        return task.loss(outputs, targets)


def error(task: Task, outputs: Any, targets: Any) -> Any:
    """Return what a task says of how wrong each sample of a batch is."""
    with blamed(f"task {task.name}: error()"):
        return task.error(outputs, targets)


def probabilities(task: Task, outputs: Any) -> Tensor | None:
    """Return the class probabilities [B, classes] that a task makes of outputs, None if it makes none."""
    with blamed(f"task {task.name}: probabilities()"):
        return task.probabilities(outputs)
