"""Fine-tuning the generated part of a network from any row, on training data, and nothing else of it."""

from collections.abc import Iterator
from itertools import islice
from math import cos, isfinite, pi

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.common.rng import seeded
from pdiff.tasks.base import Task
from pdiff.zoo.subset import FrozenRest
from pdiff.zoo.train import Batches, batches

__all__ = ["BATCH_SIZE", "Tuner"]

BATCH_SIZE = 128
"""Samples of a minibatch, whose gradient counts as one evaluation."""


class Tuner:
    """Takes steps of Adam on the task's own loss that move the bank's subset only.

    Norm layers whose running statistics are in the subset are in training mode, so that these follow; the
    others keep theirs. Raises `UsageError` if the subset has no parameter that can be trained.
    """

    def __init__(self, bank: Bank, task: Task, arch: str, seed: int) -> None:
        self._bank = bank
        self._task = task
        self._seed = seed
        with seeded(seed, "rival-network"):  # its values are replaced
            self._network = task.build(arch)
        self._network.load_state_dict(bank.state_dict(bank.batch([0])[0]))
        self._rest = FrozenRest(self._network, sorted(bank.subset_names), whole=False)
        self._parameters = [each for each in self._network.parameters() if each.requires_grad]
        if not self._parameters:
            raise UsageError(
                f"{bank.path}: holds no parameters, only statistics; there is nothing to fine-tune"
            )

    def tune(
        self, row: Tensor, steps: int, *, rate: float, purpose: str, cycles: int = 1
    ) -> Iterator[Tensor]:
        """Take `steps` steps in each of `cycles` cycles from a raw row [D]; yield the row after each.

        In a cycle the rate falls from `rate` to 0 as a cosine. `purpose` and the seed decide the minibatches
        and whatever else is random. A step that diverges is not taken, nor are those after it in its cycle.
        """
        source = batches(self._task, BATCH_SIZE, augment=False, seed=self._seed, purpose=purpose)
        for cycle in range(cycles):
            with seeded(self._seed, purpose, cycle):
                row = self._cycle(row, islice(source, steps), steps, rate)
            yield row

    def _cycle(self, row: Tensor, source: Batches, steps: int, rate: float) -> Tensor:
        """Return the row at the end of a cycle that starts at `row`, with a fresh optimiser."""
        self._load(row)
        optimizer = torch.optim.Adam(self._parameters, lr=rate, fused=True)
        self._rest.train()
        for step, (inputs, targets) in enumerate(source):
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + cos(pi * step / steps))
            optimizer.zero_grad()
            loss = self._task.loss(self._network(inputs), targets)
            if not isfinite(loss.item()):
                break
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            self._rest.restore()
        tuned = self._bank.flatten(self._network.state_dict())
        return tuned if bool(tuned.isfinite().all()) else row

    @torch.no_grad()
    def _load(self, row: Tensor) -> None:
        state = self._network.state_dict()
        for name, tensor in self._bank.subset(row).items():
            state[name].copy_(tensor)
