"""The members of each training step, drawn as a function of the step, and their rows."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.bank import Normalizer
from pdiff.bank.stream import Stream
from pdiff.common.rng import numpy_generator

__all__ = ["Draws", "draw"]


def draw(members: int, size: int, seed: int, purpose: str, step: int) -> npt.NDArray[np.int64]:
    """Draw the members of the batch of training step `step`; distinct, if there are enough.

    Unlike those of `pdiff.bank.Loader`, steps are independent of each other and every batch is full: a bank
    may have fewer members than a batch, and then an epoch would be less than one step. So the two have no
    schedule in common, but the `Stream` that carries either out.
    """
    return numpy_generator(seed, purpose, step).choice(members, size, replace=size > members)


class Draws:
    """The normalised rows [B, D] that `draw` chooses, gathered while the step before is worked on.

    They are valid until the next are asked for. Steps may begin anywhere; each costs least after the one
    before it.
    """

    def __init__(
        self,
        members: View,
        normalizer: Normalizer,
        size: int,
        *,
        seed: int,
        purpose: str,
        device: torch.device,
    ) -> None:
        self.members = members
        self.normalizer = normalizer
        self.size = size
        self.seed = seed
        self.purpose = purpose
        self.device = device
        self.waited = 0.0
        """Seconds that the latest rows were waited for."""
        self._next = 0
        self._stream: Stream | None = None

    def __call__(self, step: int) -> Tensor:
        """Return the rows of training step `step`."""
        if self._stream is None or step != self._next:
            self._stream = self._from(step)
        self._next = step + 1
        before = self._stream.waited
        rows = next(self._stream)
        self.waited = self._stream.waited - before
        return rows

    def _from(self, step: int) -> Stream:
        # One batch ahead: rows may be wide, and a step takes longer than gathering them.
        schedule = self._schedule(step)
        return Stream(
            self.members.bank, schedule, self.size, normalizer=self.normalizer, device=self.device, ahead=1
        )

    def _schedule(self, step: int) -> Iterator[npt.NDArray[np.int64]]:
        while True:
            yield self.members.indices[draw(len(self.members), self.size, self.seed, self.purpose, step)]
            step += 1
