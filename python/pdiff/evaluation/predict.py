"""Predictions of many models of one bank on one split of a task."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.errors import InputError, UsageError
from pdiff.evaluation.forward import RepeatedForward
from pdiff.evaluation.trunk import halve
from pdiff.tasks.base import Split, Task, metric_of

__all__ = ["Prediction", "Predictor"]

CACHE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Prediction:
    """What one model does on the N samples of a split."""

    correct: Tensor
    """Bool [N]."""
    measured: Tensor | None = None
    """F32 [N, S], where the task has a metric of its own."""
    probabilities: Tensor | None = None
    """F16 [N, classes], where asked for and the task gives them."""


class Predictor:
    """Judges models of `bank`, one raw row [D] at a time, on a fixed, unshuffled split of `task`.

    The network is built once and holds the bank's base; a model replaces the bank's subset only. What does
    not depend on the subset is computed once for each batch and kept, up to `cache_bytes`.

    Raises `InputError` if the network does not take the bank's checkpoints (names and shapes must match).
    """

    def __init__(
        self,
        bank: Bank,
        task: Task,
        arch: str,
        *,
        split: Split = "test",
        batch_size: int = 1000,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}: at least 1 is wanted")
        self._bank = bank
        self._task = task
        self.metric = metric_of(task)
        inputs, targets = task.data(split)
        self._targets = torch.split(targets, batch_size)
        self.samples = len(targets)
        """N, the samples of the split."""
        network = task.build(arch).eval()
        # Split before the bank is loaded: a value frozen by tracing is then the fresh network's, and the
        # comparison with the loaded network finds it.
        known = bank.subset_names <= network.state_dict().keys()
        halves = halve(network, bank.subset_names) if known else None
        _load(network, bank.state_dict(bank.batch([0])[0]), f"{task.name} {arch}")
        self._state = network.state_dict()  # shares memory with the network
        self._forward = RepeatedForward(network, torch.split(inputs, batch_size), halves, cache_bytes)

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self._bank.dim

    @property
    def cached_batches(self) -> int:
        """Batches of which the part that all models share is kept."""
        return self._forward.cached

    def correctness(self, rows: Iterable[Tensor]) -> Tensor:
        """Return which samples each model gets right: M raw rows of [D] f32 → bool [M, N]."""
        return torch.stack([self.predict(row).correct for row in rows])

    @torch.inference_mode()
    def predict(self, row: Tensor, *, votes: bool = False) -> Prediction:
        """Judge one model, a raw row [D] f32; `votes` asks for class probabilities too."""
        for name, tensor in self._bank.subset(row).items():
            self._state[name].copy_(tensor)
        parts = [self._judge(index, votes) for index in range(len(self._targets))]
        return Prediction(
            torch.cat([part.correct for part in parts]),
            _joined([part.measured for part in parts]),
            _joined([part.probabilities for part in parts]),
        )

    def _judge(self, index: int, votes: bool) -> Prediction:
        """Judge the outputs of the loaded model on batch `index`."""
        targets, outputs = self._targets[index], self._forward(index)
        correct = self._task.correct(outputs, targets)
        if correct.dtype != torch.bool or correct.shape != (len(targets),):
            raise UsageError(
                f"task {self._task.name}: correct() returned {correct.dtype} {list(correct.shape)}; "
                f"torch.bool [{len(targets)}] is wanted"
            )
        measured = None if self.metric is None else self._measured(outputs, targets)
        probabilities: Callable[[Any], Tensor] | None = getattr(self._task, "probabilities", None)
        if not votes or probabilities is None:
            return Prediction(correct, measured)
        return Prediction(correct, measured, probabilities(outputs).half())

    def _measured(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return what the task's metric measures on a batch: f32 [B, S]."""
        assert self.metric is not None
        measured = self.metric.measure(outputs, targets)
        if measured.dim() != 2 or len(measured) != len(targets):
            raise UsageError(
                f"task {self._task.name}: the metric {self.metric.name} measured {list(measured.shape)}; "
                f"[{len(targets)}, S] is wanted"
            )
        return measured.float()


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Concatenate the parts of all batches; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _load(network: nn.Module, state_dict: dict[str, Tensor], name: str) -> None:
    """Load a checkpoint strictly; the error says in one line how the network and the checkpoint differ."""
    try:
        network.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        reasons = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise InputError(f"the network {name!r} does not take the bank's checkpoints: {reasons}") from None
