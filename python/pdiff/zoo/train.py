"""Train a network to convergence, then take the steps whose checkpoints make the bank."""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import cos, isfinite, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pdiff.common.errors import InputError
from pdiff.common.progress import Progress
from pdiff.tasks import Task, calls
from pdiff.tasks.data import Batch
from pdiff.training.frozen import FrozenRest
from pdiff.training.metrics import unseen_losses
from pdiff.training.optimizers import SGD, Adam, AdamW
from pdiff.zoo.recipes import Phase

WARM_UP = 0.15
"""The share of training in which the rate rises."""


def converge(
    task: Task,
    model: nn.Module,
    phase: Phase,
    source: Iterator[Batch],
    *,
    steps: int,
    rest: FrozenRest,
    progress: Progress,
) -> None:
    """Train `model` in place for `steps`, one cycle of the learning rate; `rest` of it stays as it is.

    Leaves the model in eval mode. Raises `InputError` when the loss is no longer finite.
    """
    optimizer = _optimizer(phase, model.parameters())
    rest.train()
    unseen: list[Tensor] = []
    with progress.track("Training", steps, "step") as tracker:
        for step, (inputs, targets) in enumerate(islice(source, steps)):
            for group in optimizer.param_groups:
                group["lr"] = phase.lr * one_cycle(step, steps)
            unseen.append(_step(task, model, optimizer, inputs, targets))
            rest.restore()
            if len(unseen) >= unseen_losses(unseen[0].device) or step == steps - 1:
                tracker.advance(len(unseen), loss=_last(unseen, optimizer))
                unseen.clear()
    model.eval()


def bank_steps(
    task: Task, model: nn.Module, phase: Phase, source: Iterator[Batch], rest: FrozenRest
) -> Iterator[float]:
    """Take steps at a constant rate, as long as `source` lasts, that leave `rest` as it is; yield each loss.

    At each yield the model is in eval mode and is a checkpoint. Raises `InputError` when the loss is no
    longer finite.
    """
    optimizer = _optimizer(phase, model.parameters())
    for inputs, targets in source:
        rest.train()
        loss = _step(task, model, optimizer, inputs, targets)
        rest.restore()
        model.eval()
        yield _last([loss], optimizer)


def one_cycle(step: int, steps: int) -> float:
    """Return the factor on the peak rate at `step` of `steps`: up in a line, down along half a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + cos(pi * (step - rise) / (steps - rise)))


def _optimizer(phase: Phase, parameters: Iterable[nn.Parameter]) -> Optimizer:
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if phase.optimizer == "sgd":
        return SGD(trainable, phase.lr, momentum=0.9, weight_decay=phase.weight_decay, fused=True)
    kind = Adam if phase.optimizer == "adam" else AdamW
    return kind(trainable, phase.lr, weight_decay=phase.weight_decay, fused=True)


def _step(task: Task, model: nn.Module, optimizer: Optimizer, inputs: Any, targets: Any) -> Tensor:
    """Take a step; returns its loss, which nothing has waited for."""
    optimizer.zero_grad()
    loss = calls.loss(task, calls.forward(model, inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    return loss.detach()


def _last(losses: list[Tensor], optimizer: Optimizer) -> float:
    """Return the last of the losses; raises `InputError` if one of them is not finite."""
    values = torch.stack(losses).tolist()
    for value in values:
        if not isfinite(value):
            rate = optimizer.param_groups[0]["lr"]
            raise InputError(
                f"training diverged: the loss is {value} at learning rate {rate:.3g}; choose a lower one"
            )
    return float(values[-1])
