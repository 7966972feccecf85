"""Predict with many models of one bank on one split of a task."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.common.wording import counted
from pdiff.evaluation.inference.assignment import Assignment
from pdiff.evaluation.inference.batch_norm import Statistics
from pdiff.evaluation.inference.batches import SplitBatches, available_bytes, training_inputs
from pdiff.evaluation.inference.cache import Cache, CachedPredictions, setting
from pdiff.evaluation.inference.predictions import Prediction
from pdiff.evaluation.inference.trunk import RepeatedForward
from pdiff.tasks import calls
from pdiff.tasks.base import Split, Task
from pdiff.tasks.data import SplitData, moved
from pdiff.tasks.scoring import load, measured, wrong

TRUNK_BYTES = 2 * 1024**3


class Predictor:
    """Predicts with models of `bank`, one raw row [D] at a time, on a fixed, unshuffled split of `task`.

    The network is built once and holds the bank's base; a model replaces the bank's subset only. Batches are
    held in memory up to `data_bytes` (a quarter of what is free); where they are held and their inputs are
    one tensor, what does not depend on the subset is computed once for each batch and held too, up to
    `trunk_bytes`. With `reestimate`, running statistics that depend on the subset are estimated anew for each
    model, on that many training inputs. Predictions are cached in the folder `cache`, if given.

    Raises `InputError` if the network does not take the bank's checkpoints (names and shapes must match),
    `UsageError` for numbers that cannot work and for a task that returns what it should not.
    """

    def __init__(
        self,
        bank: Bank,
        task: Task,
        arch: str,
        *,
        split: Split = "test",
        batch_size: int = 1000,
        trunk_bytes: int = TRUNK_BYTES,
        data_bytes: int | None = None,
        device: str | torch.device = "cpu",
        reestimate: int = 0,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if batch_size < 1 or reestimate < 0:
            raise UsageError(f"batch size {batch_size}, {reestimate} inputs: at least 1 and 0 are wanted")
        self._bank, self._task, self._batch_size = bank, task, batch_size
        self._device = torch.device(device)
        self.metric = task.metric
        self._network = calls.build(task, arch).eval()
        load(self._network, bank.state_dict(bank.batch([0])[0]), f"{task.name} {arch}")
        self._network.to(self._device)
        self._assign = Assignment(bank, self._network.state_dict())  # shares memory with the network
        data = SplitData(task, split)
        self._training = SplitData(task, "train", reestimate) if reestimate else None
        self._batches = SplitBatches(data, batch_size, self._device, data_bytes)
        if not self._batches.samples:
            raise UsageError(f"task {task.name}: the {split} split has no samples")
        self._budget = min(trunk_bytes, available_bytes(self._device) // 2)
        self.computed = 0
        """Models that were run, not found in the cache."""
        self._cached: CachedPredictions | None = None
        if cache is not None:
            digests = [data.digest(), self._training.digest() if self._training else ""]
            options = [arch, split, batch_size, reestimate, self._device.type]
            if (found := setting(bank, task, digests, options)) is None:
                say(f"predictions are not cached: the class of the task {task.name} is in no file")
            else:
                self._cached = CachedPredictions(Cache(cache, say), found, self.samples)

    @property
    def samples(self) -> int:
        """N, the samples of the split."""
        return self._batches.samples

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self._bank.dim

    @property
    def trunk_batches(self) -> int:
        """Batches of which the part that all models share is held."""
        return self._forward.cached

    @property
    def estimates(self) -> bool:
        """Whether there are running statistics to estimate anew."""
        with torch.inference_mode():
            return self._statistics is not None and bool(self._statistics.names)

    @cached_property
    def classes(self) -> Tensor | None:
        """The class of each sample, i64 [N] on the CPU; None unless that is what the targets are."""
        parts = []
        for _, targets in self._batches:
            if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.dtype != torch.int64:
                return None
            parts.append(targets.cpu())
        return torch.cat(parts)

    @cached_property
    @torch.inference_mode()
    def vote_classes(self) -> int:
        """How many classes soft votes are over; 0 where the task gives no probabilities or has no classes."""
        if self.classes is None:
            return 0
        inputs, _ = next(iter(self._batches))
        outputs = calls.forward(self._network, moved(inputs, self._device, copy=True))
        found = calls.probabilities(self._task, outputs)
        return 0 if found is None else found.shape[1]

    def wrong(self, rows: Iterable[Tensor]) -> Tensor:
        """Return which parts each model gets wrong: M raw rows of [D] f32 → bool [M, N·S]."""
        return torch.stack([self.predict(row).wrong for row in rows])

    def score(self, prediction: Prediction) -> float:
        """Return how good a model is, in the task's metric, or the share that is right.

        Raises `UsageError` for a metric that gives no finite number.
        """
        if self.metric is None or prediction.measured is None:
            return 1 - float(prediction.wrong.double().mean())
        score = self.metric.reduce(prediction.measured)
        if not math.isfinite(score):
            what = f"the metric {self.metric.name} is {score}"
            raise UsageError(f"task {self._task.name}: {what}; a finite number is wanted")
        return score

    def predict(self, row: Tensor, *, votes: bool = False) -> Prediction:
        """Predict with one model, a raw row [D] f32; `votes` asks for class probabilities too.

        Probabilities are None where the task gives none.
        """
        votes = votes and self.vote_classes > 0
        found = self._cached.find(row, votes) if self._cached else None
        if found is None:
            with on_threads(self._threads):
                found = self._compute(row, votes)
            if self._cached:
                self._cached.keep(row, votes, found)
        return found

    @cached_property
    def _threads(self) -> int:
        def first() -> Any:
            inputs, _ = next(iter(self._batches))
            return moved(inputs, self._device, copy=True)

        return suitable_threads(self._network, lambda: calls.forward(self._network, first()))

    @torch.inference_mode()
    def _compute(self, row: Tensor, votes: bool) -> Prediction:
        """Predict with one model by running it."""
        if self._batches.held is not None:
            _ = self._forward  # it puts models of its own first, too
        self._put(row)
        self.computed += 1
        parts = [self._predicted(outputs, targets, votes) for outputs, targets in self._outputs()]
        if len(widths := {part.parts for part in parts}) > 1:
            raise UsageError(
                f"task {self._task.name}: error() returned [B, S] with S {min(widths)} and {max(widths)}; "
                "all samples must have the same number of parts"
            )
        return Prediction(
            torch.cat([part.wrong for part in parts]).cpu(),
            parts[0].parts,
            _joined([part.measured for part in parts]),
            _joined([part.probabilities for part in parts]),
        )

    def _outputs(self) -> Iterator[tuple[Any, Any]]:
        """Yield outputs and targets of each batch, of the model that is loaded."""
        for index, (inputs, targets) in enumerate(self._batches):
            if self._batches.held is not None:
                yield self._forward(index), targets
            else:
                yield calls.forward(self._network, moved(inputs, self._device, copy=True)), targets

    def _predicted(self, outputs: Any, targets: Any, votes: bool) -> Prediction:
        """Return what the loaded model's outputs on a batch say."""
        found = wrong(self._task, outputs, targets)
        probabilities = calls.probabilities(self._task, outputs) if votes else None
        return Prediction(
            found.flatten(),
            found.shape[1],
            measured(self._task, outputs, targets),
            None if probabilities is None else probabilities.float(),
        )

    def _put(self, row: Tensor, *, estimate: bool = True) -> None:
        """Make the network that of a raw row."""
        statistics = self._statistics if estimate else None  # it puts models of its own first
        self._assign(row)
        if statistics is not None:
            statistics.estimate()

    def _variants(self, *, estimate: bool = True) -> list[Callable[[], None]]:
        """Return what puts the bank's first and last members into the network."""
        rows = self._bank.batch([0, len(self._bank) - 1])
        return [partial(self._put, row, estimate=estimate) for row in rows]

    @cached_property
    def _statistics(self) -> Statistics | None:
        """The running statistics to estimate."""
        if self._training is None:
            return None
        inputs = training_inputs(self._training, self._batch_size, self._device)
        variants = self._variants(estimate=False)
        try:
            return Statistics(self._network, inputs, self._bank.subset_names, variants, self._budget // 2)
        except ValueError as error:  # a norm has only one number to take the variance of
            n = len(self._training)
            raise UsageError(
                f"no BatchNorm statistics of {counted(n, 'training input')}, {-(-n // len(inputs))} at a "
                f"time ({error}); --reestimate and --batch-size have to be 2 or more"
            ) from None

    @cached_property
    def _forward(self) -> RepeatedForward:
        """The network's forward on each batch that is held."""
        estimated = frozenset() if self._statistics is None else self._statistics.names
        varying = self._bank.subset_names | estimated
        inputs = [inputs for inputs, _ in self._batches.held or ()]
        return RepeatedForward(self._network, inputs, varying, self._variants(), self._budget)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Concatenate the parts of all batches; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there).cpu() if there else None
