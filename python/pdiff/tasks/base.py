"""Define what a task is: networks to build, data split three ways, and how wrong each prediction is.

Write your own as `my_task.py` with a subclass of `Task` (or `Classification`, `Regression`), or a function
that returns one, and pass `--task my_task.py:NAME`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pdiff.common.errors import UsageError

Split = Literal["train", "validation", "test"]

Data = tuple[Tensor, Tensor] | tuple[NDArray[Any], NDArray[Any]] | Dataset[Any] | Iterable[tuple[Any, Any]]
"""Inputs and targets of a split: two tensors or arrays, a dataset of pairs, or an iterable of batches.

Arrays become tensors: f64 becomes f32, integers become i64.
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
    measure: Callable[[Any, Any], Tensor]
    """Outputs and targets of B samples → f32 [B, S], S numbers a sample."""
    reduce: Callable[[Tensor], float]
    """f32 [N, S] → the value; the order of the samples must not matter."""


class Task(ABC):
    """A supervised problem whose networks `pdiff` can build and judge.

    `build`, `data`, `loss` and `error` have to be there; everything else has a default.
    """

    name: str
    """As people write it, and part of the key of kept predictions."""
    version: str = "1"
    """Part of the key of kept predictions too: change it when data or judgement change elsewhere than in the
    task's own file."""
    architectures: tuple[str, ...] = ("network",)
    """Names accepted by `build`, the first one the default."""
    metric: Metric | None = None
    """What a network is judged by; None for the share of samples (or of their parts) that are right."""
    tolerance: float = 0.0
    """A sample, or a part of it, is wrong where its error is above this."""
    workers: int = 0
    """Processes that load a dataset's samples."""

    @abstractmethod
    def build(self, arch: str) -> nn.Module:
        """Return a freshly initialised network; raises `UsageError` for a name not in `architectures`."""

    @abstractmethod
    def data(self, split: Split) -> Data:
        """Return a split, in a fixed order.

        All three are asked for. An empty validation split (two tensors without rows) means that there is
        none, and then nothing is chosen on it. The others need samples.
        """

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the scalar training loss of one batch."""

    @abstractmethod
    def error(self, outputs: Any, targets: Any) -> Tensor:
        """Return how wrong each of B samples is, 0 where it is right: bool or f32, [B] or [B, S].

        S parts of a sample (labels, regions, targets to find) are right or wrong by themselves.
        """

    def probabilities(self, outputs: Any) -> Tensor | None:
        """Return class probabilities [B, classes] of outputs, which soft votes need, or None."""
        return None

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch of a dataset's samples."""
        from torch.utils.data import default_collate  # noqa: PLC0415 (slow to import, and seldom needed)

        return default_collate(list(samples))

    @property
    def metric_name(self) -> str:
        """What a network is judged by, as people write it."""
        return "accuracy" if self.metric is None else self.metric.name

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return self.metric is None or self.metric.higher_is_better

    def describe(self, score: float) -> str:
        """Return a score with its name and unit: `accuracy 97.12%`, `RMSE 0.4123`."""
        percent = self.metric is None or self.metric.percent
        return f"{self.metric_name} {f'{score:.2%}' if percent else f'{score:.4g}'}"


class Classification(Task):
    """A task whose outputs are logits [B, classes] and whose targets are classes i64 [B]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return whether the largest logit is another than the target's: bool [B].

        Raises `UsageError` for targets that are no classes of the network.
        """
        if targets.is_floating_point():
            raise UsageError(f"task {self.name}: targets are {targets.dtype}; numbers of classes are wanted")
        last = outputs.shape[-1] - 1
        if outside := targets[(targets < 0) | (targets > last)].tolist():
            hint = " (do yours begin at 1?)" if outside[0] == last + 1 else ""
            known = f"the network has classes 0 to {last}{hint}"
            raise UsageError(f"task {self.name}: targets hold {outside[0]}, and {known}")
        return outputs.argmax(dim=-1) != targets

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """Return the probability of each class [B, classes]."""
        return outputs.softmax(dim=-1)
