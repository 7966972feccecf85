"""What a task is: a network to build, data split three ways, and a judgement of each prediction.

Write your own as `my_task.py` with a function that returns a `Task`, and pass `--task my_task.py:factory`.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["Classification", "Split", "Task"]

Split = Literal["train", "validation", "test"]


@runtime_checkable
class Task(Protocol):
    """A supervised problem whose networks `pdiff` can build and judge."""

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
