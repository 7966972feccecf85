"""The two phases of a zoo: to convergence, and the steps after it whose checkpoints make the bank."""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import cos, isfinite, pi

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pdiff.common.errors import InputError
from pdiff.common.progress import Progress
from pdiff.common.rng import torch_generator
from pdiff.tasks import Task
from pdiff.tasks.base import metric_of
from pdiff.zoo.augment import flip_and_shift
from pdiff.zoo.recipes import Phase
from pdiff.zoo.subset import FrozenRest

__all__ = ["Batches", "bank_steps", "batches", "converge", "initialise", "one_cycle", "score"]

Batches = Iterator[tuple[Tensor, Tensor]]

WARM_UP = 0.15
"""The share of training in which the rate rises."""


def initialise(task: Task, arch: str, seed: int, run: int) -> nn.Module:
    """Build the network with the weights that belong to (seed, run); torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(seed, "zoo/initialise", run).initial_seed())
        return task.build(arch)


def batches(task: Task, batch_size: int, *, augment: bool, seed: int, purpose: str) -> Batches:
    """Yield training batches without end, in a new order each epoch; the short last batch is left out."""
    inputs, targets = task.data("train")
    n = len(inputs)
    size = min(batch_size, n)
    epoch = 0
    while True:
        generator = torch_generator(seed, purpose, epoch)
        order = torch.randperm(n, generator=generator)
        for chosen in order[: n - n % size].view(-1, size):
            x = inputs[chosen]
            yield flip_and_shift(x, generator) if augment else x, targets[chosen]
        epoch += 1


def converge(
    task: Task, model: nn.Module, phase: Phase, source: Batches, *, steps: int, progress: Progress
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
    task: Task, model: nn.Module, phase: Phase, source: Batches, rest: FrozenRest
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


def one_cycle(step: int, steps: int) -> float:
    """Return the factor on the peak rate at `step` of `steps`: up in a line, down along half a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + cos(pi * (step - rise) / (steps - rise)))


def _optimizer(phase: Phase, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the phase's optimiser over the parameters that need a gradient."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    match phase.optimizer:
        case "sgd":
            return SGD(trainable, phase.lr, momentum=0.9, weight_decay=phase.weight_decay, fused=True)
        case "adam":
            return Adam(trainable, phase.lr, weight_decay=phase.weight_decay, fused=True)
        case _:
            return AdamW(trainable, phase.lr, weight_decay=phase.weight_decay, fused=True)


def _step(task: Task, model: nn.Module, optimizer: Optimizer, inputs: Tensor, targets: Tensor) -> float:
    """Take one optimiser step and return the loss before it."""
    optimizer.zero_grad()
    loss = task.loss(model(inputs), targets)
    value = loss.item()
    if not isfinite(value):
        rate = optimizer.param_groups[0]["lr"]
        raise InputError(
            f"training diverged: the loss is {value} at learning rate {rate:.3g}; choose a lower one"
        )
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    return value


@torch.inference_mode()
def score(task: Task, model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int = 1_000) -> float:
    """Return a model's score in the task's metric, or its share of correct outputs; it is in eval mode."""
    metric = metric_of(task)
    judge = task.correct if metric is None else metric.measure
    pairs = zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
    judged = torch.cat([judge(model(x), y) for x, y in pairs])
    return int(judged.sum()) / len(inputs) if metric is None else metric.reduce(judged)
