"""Predictions of many models of one bank on one split of a task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.common.wording import counted
from pdiff.evaluation.assignment import Assignment, load
from pdiff.evaluation.context import context_of
from pdiff.evaluation.decisions import Decisions
from pdiff.evaluation.fast import Unsuited
from pdiff.evaluation.forward import RepeatedForward
from pdiff.evaluation.kept import Kept
from pdiff.evaluation.prediction import Prediction
from pdiff.evaluation.reestimate import Statistics
from pdiff.evaluation.store import Store
from pdiff.tasks.base import Classification, Split, Task, metric_of

__all__ = ["Prediction", "Predictor"]

CACHE_BYTES = 2 * 1024**3
_TOGETHER = 16
"""Models that run the fast way one after the other: what each step needs is in the caches then."""


class Predictor:
    """Judges models of `bank`, one raw row [D] at a time, on a fixed, unshuffled split of `task`.

    The network is built once and holds the bank's base; a model replaces the bank's subset only. What does
    not depend on the subset is computed once for each batch and kept, up to `cache_bytes`; small
    classifiers run another way that decides as the plain network does. With `reestimate`, running statistics
    that depend on the subset are estimated anew for each model, on that many training inputs. Predictions
    are kept in the folder `store`, if given, and never made twice.

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
        device: str | torch.device = "cpu",
        reestimate: int = 0,
        store: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if batch_size < 1 or reestimate < 0:
            raise UsageError(f"batch size {batch_size}, {reestimate} inputs: at least 1 and 0 are wanted")
        self._bank, self._task, self._batch_size = bank, task, batch_size
        self._device = torch.device(device)
        self._budget = min(cache_bytes, _free_bytes(self._device) // 2)
        self.metric = metric_of(task)
        inputs, targets = task.data(split)
        training = task.data("train")[0][:reestimate]
        self.samples = len(targets)
        """N, the samples of the split."""
        self._network = task.build(arch).eval()
        load(self._network, bank.state_dict(bank.batch([0])[0]), f"{task.name} {arch}")
        self._network.to(self._device)
        self._assign = Assignment(bank, self._network.state_dict())  # shares memory with the network
        self._kept = Kept(None, self.samples)
        if store is not None:
            options = [arch, split, batch_size, self._device.type, reestimate]
            context = context_of(
                bank, task, self._network, (inputs, targets, training), options=options, say=say
            )
            self._kept = Kept(None if context is None else Store(store, context, say), self.samples)
        self._inputs = self._placed(inputs)
        self._targets = torch.split(targets.to(self._device), batch_size)
        self._training = self._placed(training)
        self.computed = 0
        """Models that were run, not found in the store."""

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self._bank.dim

    @property
    def cached_batches(self) -> int:
        """Batches of which the part that all models share is kept."""
        return self._forward.cached

    @property
    def estimates(self) -> bool:
        """Whether there are running statistics to estimate anew."""
        with torch.inference_mode():
            return self._statistics is not None and bool(self._statistics.names)

    def correctness(self, rows: Iterable[Tensor]) -> Tensor:
        """Return which samples each model gets right: M raw rows of [D] f32 → bool [M, N]."""
        return torch.stack([each.correct for each in self.predictions((row, False) for row in rows)])

    def score(self, prediction: Prediction) -> float:
        """Return how good a model is, in the task's metric."""
        if self.metric is None or prediction.measured is None:
            return float(prediction.correct.double().mean())
        return self.metric.reduce(prediction.measured)

    def predict(self, row: Tensor, *, votes: bool = False) -> Prediction:
        """Judge one model, a raw row [D] f32; `votes` asks for class probabilities too."""
        return next(self.predictions([(row, votes)]))

    def predictions(self, wanted: Iterable[tuple[Tensor, bool]]) -> Iterator[Prediction]:
        """Judge models as `predict` does, each a row and its votes: less time a model than alone."""
        can, wanted = hasattr(self._task, "probabilities"), iter(wanted)
        while some := [(row, votes and can) for row, votes in islice(wanted, _TOGETHER)]:
            found = [self._kept.find(row, votes) for row, votes in some]
            new = [one for one, prediction in zip(some, found, strict=True) if prediction is None]
            margins = iter(self._margins(new))
            for (row, votes), prediction in zip(some, found, strict=True):
                yield self._made(row, votes, next(margins)) if prediction is None else prediction

    def _made(self, row: Tensor, votes: bool, margin: Tensor | None) -> Prediction:
        """Judge a new model, unless the same has been judged since."""
        prediction = self._kept.find(row, votes)
        if prediction is None:
            prediction = self._compute(row, votes, margin)
            self._kept.keep(row, votes, prediction)
        return prediction

    @torch.inference_mode()
    def _margins(self, wanted: Sequence[tuple[Tensor, bool]]) -> Sequence[Tensor | None]:
        """Return the margins [N] with each model for which the fast way needs nothing but its row."""
        rows = [row for row, votes in wanted if not votes]
        if len(rows) < 2 or self._decisions is None or self._statistics is not None:
            return [None] * len(wanted)
        models = []
        for row in rows:
            self._put(row)
            models.append(self._decisions.fold())
        margins = iter(self._decisions.margins(models))
        return [None if votes else next(margins) for _, votes in wanted]

    @torch.inference_mode()
    def _compute(self, row: Tensor, votes: bool, margin: Tensor | None) -> Prediction:
        """Judge one model by running it."""
        forward, decisions = self._forward, self._decisions  # they put models of their own first
        self._put(row)
        self.computed += 1
        if decisions is not None and not votes:
            return Prediction(decisions.correct(margin))
        parts = [self._judge(targets, forward(i), votes) for i, targets in enumerate(self._targets)]
        return Prediction(
            torch.cat([part.correct for part in parts]).cpu(),
            _joined([part.measured for part in parts]),
            _joined([part.probabilities for part in parts]),
        )

    def _put(self, row: Tensor, *, estimate: bool = True) -> None:
        """Make the network that of a raw row."""
        self._assign(row)
        if estimate and self._statistics is not None:
            self._statistics.estimate()

    def _variants(self, *, estimate: bool = True) -> list[Callable[[], None]]:
        """Return what puts the bank's first and last members into the network."""
        rows = self._bank.batch([0, len(self._bank) - 1])
        return [partial(self._put, row, estimate=estimate) for row in rows]

    @cached_property
    def _statistics(self) -> Statistics | None:
        """The running statistics to estimate."""
        if not len(self._training):
            return None
        count = -(-len(self._training) // self._batch_size)
        batches = torch.tensor_split(self._training, count)  # of several, none is a single sample
        variants = self._variants(estimate=False)
        try:
            return Statistics(self._network, batches, self._bank.subset_names, variants, self._budget // 2)
        except ValueError as error:  # a norm has only one number to take the variance of
            raise UsageError(
                f"no BatchNorm statistics of {counted(len(self._training), 'training input')}, "
                f"{len(batches[0])} at a time ({error}); --reestimate and --batch-size have to be 2 or more"
            ) from None

    @cached_property
    def _forward(self) -> RepeatedForward:
        """The network's forward on each batch."""
        estimated = frozenset() if self._statistics is None else self._statistics.names
        varying = self._bank.subset_names | estimated
        batches = torch.split(self._inputs, self._batch_size)
        return RepeatedForward(self._network, batches, varying, self._variants(), self._budget)

    @cached_property
    def _decisions(self) -> Decisions | None:
        """The faster way to a classifier's decisions, if there is one and it is faster."""
        plain = self.metric is None and getattr(type(self._task), "correct", None) is Classification.correct
        if not plain or self._device.type != "cpu":
            return None
        targets = torch.cat(self._targets)
        try:
            ways = Decisions(self._network, self._inputs, targets, self._forward, self._batch_size)
            fast, slow = _seconds(ways.correct), _seconds(ways.plainly)
        except Unsuited:
            return None
        return ways if fast < slow else None

    def _placed(self, inputs: Tensor) -> Tensor:
        """Return inputs on the device, if they leave it room for the work."""
        fits = 4 * inputs.nbytes < _free_bytes(self._device)
        return inputs.to(self._device) if fits else inputs

    def _judge(self, targets: Tensor, outputs: Any, votes: bool) -> Prediction:
        """Judge the outputs of the loaded model on a batch."""
        correct = self._task.correct(outputs, targets)
        if correct.dtype != torch.bool or correct.shape != (len(targets),):
            raise UsageError(
                f"task {self._task.name}: correct() returned {correct.dtype} {list(correct.shape)}; "
                f"torch.bool [{len(targets)}] is wanted"
            )
        measured = None if self.metric is None else self._measured(outputs, targets)
        if not votes:
            return Prediction(correct, measured)
        probabilities: Tensor = self._task.probabilities(outputs)  # type: ignore[attr-defined]
        return Prediction(correct, measured, probabilities.half())

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


def _free_bytes(device: torch.device) -> int:
    """Return the memory that may be used; unbounded for the CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**62


def _seconds(action: Callable[[], object]) -> float:
    """Return the seconds that something takes, the faster of two runs."""
    times = [perf_counter()]
    for _ in range(2):
        action()
        times.append(perf_counter())
    return min(times[1] - times[0], times[2] - times[1])


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Concatenate the parts of all batches; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there).cpu() if there else None
