"""The plain network's decisions from logits that are the plain network's but for the last bits.

A sample is decided when its target's logit is further from the largest other one than rounding can move
them; every other sample is decided by the plain network. How far rounding moves logits is not proved but
measured, for each model anew, on a few samples and with a wide margin; where the plain network is asked,
what it gives is held against that bound too, and a model that breaks it is left to the plain network
altogether. The plain network is asked for a few samples at a time if, tried once with all samples in another
order, it gives each the bits that it has in its batch; otherwise for the batch that the sample belongs to.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from pdiff.evaluation.fast import FastForward, Unsuited

__all__ = ["Decisions"]

_PROBE = 64
"""Samples on which the deviation of each model is measured; as many are asked about at once."""
_SAFETY = 10.0
"""How many times the largest deviation measured a margin must be to decide; margins have been seen 2.4 times
that far apart, over thousands of samples."""


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
        self._forward = FastForward(network, inputs)
        self._inputs, self._probe = inputs, inputs[:_PROBE]
        self._batches = torch.split(targets, batch_size)
        self._targets = targets[None]
        self.asked = 0
        """Samples that the plain network was asked for, of all models."""

    @torch.inference_mode()
    def correct(self) -> Tensor:
        """Return which samples the network, as it is now, gets right: bool [N]."""
        logits = self._forward.logits()
        bound = self._bound(logits[:, :_PROBE])
        margin = _margins(logits, self._targets)
        correct, undecided = margin > 0, ~(margin.abs() > bound)
        if not bool(undecided.any()):
            return correct
        for chosen, outputs in self._groups(margin, undecided):
            self.asked += len(outputs)
            targets = self._targets[0, chosen]
            theirs = _margins(outputs.t().clone(), targets[None])
            if not bool(((margin[chosen] - theirs).abs() < bound).all()):
                return self.plainly()
            correct[chosen] = outputs.argmax(dim=-1) == targets
        return correct

    def _groups(self, margin: Tensor, undecided: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield indices that cover the undecided samples, and the plain network's outputs on each group."""
        count = -(-int(undecided.sum()) // _PROBE) * _PROBE
        if 2 * count <= len(margin) and bool(margin.isfinite().all()) and self._alike_in_parts:
            nearest = margin.abs().topk(count, largest=False).indices
            for chosen in torch.split(nearest, _PROBE):
                yield chosen, self._network(self._inputs[chosen])
            return
        indices = torch.split(torch.arange(len(margin)), len(self._batches[0]))
        for index, chosen in enumerate(indices):
            if bool(undecided[chosen].any()):
                yield chosen, self._plain(index)

    @cached_property
    def _alike_in_parts(self) -> bool:
        """Whether the plain network gives samples in other company the bits that they have in their batch."""
        order = torch.randperm(len(self._inputs), generator=torch.Generator().manual_seed(0))
        order = torch.cat([order, order[: -len(order) % _PROBE]])
        parts = torch.cat([self._network(self._inputs[chosen]) for chosen in torch.split(order, _PROBE)])
        whole = torch.cat([self._plain(index) for index in range(len(self._batches))])
        return torch.equal(parts, whole[order])

    @torch.inference_mode()
    def plainly(self) -> Tensor:
        """Return the same from the plain network alone."""
        outputs = map(self._plain, range(len(self._batches)))
        return torch.cat([each.argmax(dim=-1) == t for each, t in zip(outputs, self._batches, strict=True)])

    def _bound(self, logits: Tensor) -> Tensor:
        """Return what margins have to be above; `logits` [classes, P] are the fast ones of the probe."""
        plain = self._network(self._probe.clone()).t()
        if plain.shape != logits.shape:
            raise Unsuited(f"outputs {list(plain.shape)}")
        rounding = torch.finfo(plain.dtype).eps * plain.abs().max()
        return _SAFETY * torch.maximum((plain - logits).abs().max(), rounding)


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how far the target's logit is above the largest other one: [classes, B], [1, B] → [B].

    Writes to the logits.
    """
    own = logits.gather(0, targets)[0]
    return own - logits.scatter_(0, targets, -torch.inf).amax(dim=0)
