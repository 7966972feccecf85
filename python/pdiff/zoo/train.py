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
from pdiff.common.torch_rng import torch_generator
from pdiff.tasks import Task, calls
from pdiff.tasks.data import Batch
from pdiff.training.frozen import FrozenRest
from pdiff.training.optimizers import SGD, Adam, AdamW
from pdiff.zoo.recipes import Phase

WARM_UP = 0.15
"""The share of training in which the rate rises."""


def initialise(task: Task, arch: str, seed: int, run: int) -> nn.Module:
    """Build the network with the weights that belong to (seed, run); torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(seed, "zoo/initialise", run).initial_seed())
        return calls.build(task, arch)


def converge(
    task: Task, model: nn.Module, phase: Phase, source: Iterator[Batch], *, steps: int, progress: Progress
) -> None:
    """Train all parameters of `model` in place for `steps`, one cycle of the learning rate.

    Leaves the model in eval mode. Raises `InputError` when the loss is no longer finite.
    """
    optimizer = _optimizer(phase, model.parameters())
    model.train()
    with progress.track("Training", steps, "step") as tracker:
        for step, (inputs, targets) in enumerate(islice(source, steps)):
            for group in optimizer.param_groups:
                group["lr"] = phase.lr * one_cycle(step, steps)
            tracker.advance(1, loss=_step(task, model, optimizer, inputs, targets))
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
        yield loss


def flip_and_shift(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Mirror half of the images [B, C, H, W] left to right and shift each by up to `reach` pixels.

    The border pixels fill what a shift uncovers.
    """
    n, _, height, width = images.shape
    down, right = torch.randint(-reach, reach + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp(0, height - 1)  # [B, H], which row to take
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(n)[:, None, None]
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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


def _step(task: Task, model: nn.Module, optimizer: Optimizer, inputs: Any, targets: Any) -> float:
    optimizer.zero_grad()
    loss = calls.loss(task, calls.forward(model, inputs), targets)
    value = loss.item()
    if not isfinite(value):
        rate = optimizer.param_groups[0]["lr"]
        raise InputError(
            f"training diverged: the loss is {value} at learning rate {rate:.3g}; choose a lower one"
        )
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    return value
