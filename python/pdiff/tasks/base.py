"""What a task is: a network to build, data split three ways, and a judgement of each prediction.

Write your own as `my_task.py` with a function that returns a `Task`, and pass `--task my_task.py:factory`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = [
    "Classification",
    "Metric",
    "Permutations",
    "Split",
    "Task",
    "described",
    "metric_name",
    "metric_of",
    "permutations_of",
]

Split = Literal["train", "validation", "test"]

Permutations = Sequence[Sequence[tuple[str, int]]]
"""Groups of (tensor, dimension) that have to be permuted together to leave a network's function unchanged.

Dimension 0 of a layer's weight and bias, of the norm behind it, and dimension 1 of the next layer's weight. A
dimension n times as long as the group's shortest is n consecutive numbers a unit (channels, flattened).
"""


@dataclass(frozen=True)
class Metric:
    """How good a network is, as one number: any function of what was measured on each sample.

    Samples can be drawn again from what was measured, which is what intervals need. A mean of squared
    errors, a mean IoU from per-sample confusion counts and an average precision from padded detections
    are all of this form.
    """

    name: str
    """As people write it: `accuracy`, `RMSE`, `mIoU`."""
    higher_is_better: bool
    percent: bool
    """Whether values are fractions that people read as per cent."""
    measure: Callable[[Any, Tensor], Tensor]
    """Outputs and targets of B samples → f32 [B, S], S numbers a sample."""
    reduce: Callable[[Tensor], float]
    """f32 [N, S] → the value; the order of the samples must not matter."""


@runtime_checkable
class Task(Protocol):
    """A supervised problem whose networks `pdiff` can build and judge.

    A task may also have `metric`, a `Metric` (without it a network is as good as its fraction of correct
    samples), `probabilities(outputs)` → f32 [B, classes], which soft votes need, and `permutations(arch)` →
    `Permutations`, for distances that do not depend on the order of hidden units.
    """

    name: str
    architectures: tuple[str, ...]
    """Names accepted by `build`, the first one the default."""

    def build(self, arch: str) -> nn.Module:
        """Return a freshly initialised network; raises `UsageError` for a name not in `architectures`."""

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return `(inputs, targets)` of a split, first dimension N, in a fixed order."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar training loss of one batch."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return a boolean [B]: which of the network's outputs are right."""


class Classification:
    """The parts of a `Task` that every classification problem shares: outputs are logits [B, classes]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return whether the largest logit is the target's."""
        return outputs.argmax(dim=-1) == targets

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class [B, classes]."""
        return outputs.softmax(dim=-1)


def metric_of(task: Task) -> Metric | None:
    """Return the task's own metric, or None where a network is judged by its fraction of correct samples."""
    metric: Metric | None = getattr(task, "metric", None)
    return metric


def metric_name(task: Task) -> str:
    """Return what a network of the task is judged by, as people write it."""
    metric = metric_of(task)
    return "accuracy" if metric is None else metric.name


def described(task: Task, score: float) -> str:
    """Return a score with its name and unit: `accuracy 97.12%`, `RMSE 0.4123`."""
    metric = metric_of(task)
    percent = metric is None or metric.percent
    return f"{metric_name(task)} {f'{score:.2%}' if percent else f'{score:.4g}'}"


def permutations_of(task: Task, arch: str) -> Permutations:
    """Return the groups of hidden units that the task declares for a network; none if it says nothing."""
    declared: Callable[[str], Permutations] | None = getattr(task, "permutations", None)
    return () if declared is None else declared(arch)
