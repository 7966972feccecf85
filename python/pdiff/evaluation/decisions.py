"""The plain network's decisions from logits that are the plain network's but for the last bits.

A sample is decided when its target's logit is further from the largest other one than rounding can move
them; every other sample is decided by the plain network. How far rounding moves logits is not proved but
measured, for each model anew and with a wide margin, where the plain network is asked first: on a few
samples from all over the data, the largest ones, and those nearest to a tie. A margin counts in units of its
sample's largest number: networks of this kind are piecewise linear, and rounding grows no faster than what
they are given. What the plain network gives later is held against that bound too, and a model that breaks it
is left to the plain network altogether. It is asked for a few samples at a time if, tried once with all
samples in another order, it gives each the bits that it has in its batch; otherwise for the batch that the
sample belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from pdiff._core import FoldedModel
from pdiff.evaluation.fast import FastForward, Unsuited

__all__ = ["Decisions"]

_ASKED = 64
"""Samples that the plain network is asked for at once; the first ones measure what rounding does."""
_SAFETY = 20.0
"""How many times the largest deviation measured a margin must be to decide; among the 10,000 samples of 230
models margins have been seen up to 4.4 times that far apart."""


class Decisions:
    """Which of N samples a classifier gets right, as its `plain` forward on batches of `batch_size` says.

    Raises `Unsuited` for a network that has no fast way.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        plain: Callable[[int], Tensor],
        batch_size: int,
    ) -> None:
        self._network, self._plain = network, plain
        self._forward = FastForward(network, inputs, targets)
        self._inputs = inputs
        self._sizes = _sizes(inputs)
        most = min(_ASKED // 4, len(inputs))
        spread = torch.linspace(0, len(inputs) - 1, most).long()
        self._always = torch.cat([spread, self._sizes.topk(most).indices])
        self._batches = torch.split(targets, batch_size)
        self._targets = targets
        self.asked = 0
        """Samples that the plain network decided, of all models that it was not left to."""

    def fold(self) -> FoldedModel:
        """Return the network as it is now, for `margins`."""
        return self._forward.fold()

    def margins(self, models: Sequence[FoldedModel]) -> Tensor:
        """Return the margins but for rounding: M models → [M, N]."""
        return self._forward.margins(models)

    @torch.inference_mode()
    def correct(self, margin: Tensor | None = None) -> Tensor:
        """Return which samples the network, as it is now, gets right: bool [N]; `margin` [N] is its own."""
        if margin is None:
            margin = self.margins([self.fold()])[0]
        margin = margin / self._sizes
        smallest, nearest = margin.abs().topk(min(_ASKED // 2, len(margin)), largest=False)
        first = torch.cat([self._always, nearest])
        asked = self._network(self._inputs[first])
        bound = self._bound(margin, first, asked)
        correct = margin > 0
        if float(smallest[0]) > bound and bool(margin.isfinite().all()):
            return correct
        undecided = ~(margin.abs() > bound)
        for chosen, outputs in self._groups(margin, undecided, (first, asked)):
            self.asked += len(outputs)
            if not bool((self._deviations(margin, chosen, outputs) < bound).all()):
                return self.plainly()
            correct[chosen] = outputs.argmax(dim=-1) == self._targets[chosen]
        return correct

    def _deviations(self, margin: Tensor, chosen: Tensor, outputs: Tensor) -> Tensor:
        """Return how far the margins of the samples `chosen` are from those of their plain `outputs`: [B]."""
        return (margin[chosen] - _margins(outputs, self._targets[chosen]) / self._sizes[chosen]).abs()

    def _bound(self, margin: Tensor, asked: Tensor, outputs: Tensor) -> float:
        """Return what margins have to be above, from the plain network's outputs for the samples `asked`."""
        if outputs.dim() != 2:
            raise Unsuited(f"outputs {list(outputs.shape)}")
        least = outputs.abs().amax(dim=1) / self._sizes[asked] * torch.finfo(outputs.dtype).eps
        return _SAFETY * float(self._deviations(margin, asked, outputs).maximum(least).max())

    def _groups(
        self, margin: Tensor, undecided: Tensor, first: tuple[Tensor, Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield indices that cover the undecided samples, and the plain network's outputs on each group.

        `first` is a group that has been asked.
        """
        if 2 * int(undecided.sum()) <= len(margin) and bool(margin.isfinite().all()) and self._alike_in_parts:
            yield first
            undecided[first[0]] = False
            count = -(-int(undecided.sum()) // _ASKED)
            distance = margin.abs()
            distance[first[0]] = torch.inf
            for chosen in distance.topk(count * _ASKED, largest=False).indices.view(count, _ASKED):
                yield chosen, self._network(self._inputs[chosen])
            return
        indices = torch.split(torch.arange(len(margin)), len(self._batches[0]))
        for index, chosen in enumerate(indices):
            if bool(undecided[chosen].any()):
                yield chosen, self._plain(index)

    @cached_property
    def _alike_in_parts(self) -> bool:
        """Whether the plain network gives samples in other company the bits that they have in their batch."""
        if len(self._inputs) < 2 * _ASKED:
            return False
        order = torch.randperm(len(self._inputs), generator=torch.Generator().manual_seed(0))
        order = torch.cat([order, order[: -len(order) % _ASKED]])
        parts = torch.cat([self._network(self._inputs[chosen]) for chosen in torch.split(order, _ASKED)])
        whole = torch.cat([self._plain(index) for index in range(len(self._batches))])
        return torch.equal(parts, whole[order])

    @torch.inference_mode()
    def plainly(self) -> Tensor:
        """Return the same from the plain network alone."""
        outputs = map(self._plain, range(len(self._batches)))
        return torch.cat([each.argmax(dim=-1) == t for each, t in zip(outputs, self._batches, strict=True)])


def _sizes(inputs: Tensor) -> Tensor:
    """Return the largest number of each sample, those of small ones taken for the median: [N, …] → [N]."""
    sizes = inputs.flatten(1).abs().amax(dim=1)
    usual = float(sizes.nanmedian())
    return sizes.clamp(min=usual) if 0 < usual < torch.inf else torch.ones_like(sizes)


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how far the target's logit is above the largest other one: [B, classes], [B] → [B]."""
    targets = targets[:, None]
    own = logits.gather(1, targets)[:, 0]
    return own - logits.scatter(1, targets, -torch.inf).amax(dim=1)
