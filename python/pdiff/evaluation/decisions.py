"""The plain network's decisions from logits that are the plain network's but for the last bits.

A sample is decided when its target's logit is further from the largest other one than rounding can move
them; every other sample is decided by the plain network. How far rounding moves logits is not proved but
measured, for each model anew and with a wide margin, where the plain network is asked first: on a few
samples from all over the data and on those nearest to a tie. What it gives later is held against that bound
too, and a model that breaks it is left to the plain network altogether. The plain network is asked for a few
samples at a time if, tried once with all samples in another order, it gives each the bits that it has in its
batch; otherwise for the batch that the sample belongs to.
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
        self._spread = torch.linspace(0, len(inputs) - 1, min(_ASKED // 2, len(inputs))).long()
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
        smallest, nearest = margin.abs().topk(len(self._spread), largest=False)
        first = torch.cat([self._spread, nearest])
        asked = self._network(self._inputs[first])
        bound = _bound(margin[first], asked, self._targets[first])
        correct = margin > 0
        if float(smallest[0]) > bound and bool(margin.isfinite().all()):
            return correct
        undecided = ~(margin.abs() > bound)
        for chosen, outputs in self._groups(margin, undecided, (first, asked)):
            self.asked += len(outputs)
            targets = self._targets[chosen]
            if not bool(((margin[chosen] - _margins(outputs, targets)).abs() < bound).all()):
                return self.plainly()
            correct[chosen] = outputs.argmax(dim=-1) == targets
        return correct

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


def _bound(margin: Tensor, outputs: Tensor, targets: Tensor) -> float:
    """Return what margins have to be above, from the fast margins and the plain logits of a few samples."""
    if outputs.dim() != 2:
        raise Unsuited(f"outputs {list(outputs.shape)}")
    deviation = (margin - _margins(outputs, targets)).abs().max()
    return _SAFETY * float(deviation.maximum(outputs.abs().max() * torch.finfo(outputs.dtype).eps))


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how far the target's logit is above the largest other one: [B, classes], [B] → [B]."""
    targets = targets[:, None]
    own = logits.gather(1, targets)[:, 0]
    return own - logits.scatter(1, targets, -torch.inf).amax(dim=1)
