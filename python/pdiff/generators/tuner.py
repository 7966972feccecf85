"""Fine-tune the generated part of a network from any row, on training data, and nothing else of it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import cos, isfinite, pi

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.common.torch_rng import seeded
from pdiff.generators.base import Context
from pdiff.tasks import calls
from pdiff.tasks.data import Batch, SplitData, moved
from pdiff.tasks.scoring import load
from pdiff.training.frozen import FrozenRest
from pdiff.training.optimizers import Adam

BATCH_SIZE = 128
"""Samples of a minibatch, whose gradient counts as one evaluation."""


class Tuner:
    """Takes steps of Adam on the task's own loss that move the bank's subset only.

    Norm layers whose running statistics are in the subset are in training mode, so that these follow; the
    others keep theirs. Raises `UsageError` if the subset has no parameter that can be trained, or the context
    has no task.
    """

    def __init__(self, bank: Bank, context: Context, seed: int) -> None:
        self._task, arch = context.require_task("tuned")
        self._bank = bank
        self._device = context.device
        self._interruption = context.interruption
        with seeded(seed, "rival-network"):  # its values are replaced
            network = calls.build(self._task, arch)
        load(network, bank.state_dict(bank.batch([0])[0]), f"{self._task.name} {arch}")
        self._network = network.to(self._device)
        self._rest = FrozenRest(self._network, sorted(bank.subset_names), whole=False)
        self._parameters = [each for each in self._network.parameters() if each.requires_grad]
        if not self._parameters:
            raise UsageError(
                f"{bank.path}: holds no parameters, only statistics; there is nothing to fine-tune"
            )
        self._data = SplitData(self._task, "train")
        batches = self._data.batches(BATCH_SIZE)
        self._threads = suitable_threads(
            self._network, lambda: calls.forward(self._network, moved(next(batches)[0], self._device))
        )

    def tune(
        self, row: Tensor, steps: int, *, rate: float, seed: int, purpose: str, cycles: int = 1
    ) -> Iterator[Tensor]:
        """Take `steps` steps in each of `cycles` cycles from a raw row [D]; yield the row after each.

        In a cycle the rate falls from `rate` to 0 as a cosine. `purpose` and the seed decide the minibatches
        and whatever else is random. A step that diverges is not taken, nor are those after it in its cycle.
        """
        source = self._data.shuffled(BATCH_SIZE, seed=seed, purpose=purpose)
        for cycle in range(cycles):
            with seeded(seed, purpose, cycle), on_threads(self._threads):
                row = self._cycle(row, islice(source, steps), steps, rate)
            yield row

    def _cycle(self, row: Tensor, source: Iterable[Batch], steps: int, rate: float) -> Tensor:
        """Return the row at the end of a cycle that starts at `row`, with a fresh optimiser."""
        self._load(row)
        optimizer = Adam(self._parameters, lr=rate, fused=True)
        # In closed form: CosineAnnealingLR multiplies up its rounding from step to step.
        schedule = LambdaLR(optimizer, lambda step: 0.5 * (1 + cos(pi * step / steps)))
        self._rest.train()
        for inputs, targets in source:
            self._interruption.check()
            optimizer.zero_grad()
            outputs = calls.forward(self._network, moved(inputs, self._device))
            loss = calls.loss(self._task, outputs, moved(targets, self._device))
            if not isfinite(loss.item()):
                break
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            self._rest.restore()
        tuned = self._bank.flatten(self._network.state_dict()).cpu()
        return tuned if bool(tuned.isfinite().all()) else row

    @torch.no_grad()
    def _load(self, row: Tensor) -> None:
        state = self._network.state_dict()
        for name, tensor in self._bank.subset(row).items():
            state[name].copy_(tensor)
