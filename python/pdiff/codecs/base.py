"""Define what turns a normalised row of D numbers into a latent of Z and back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.common.config import Optimisation

_TOGETHER = 64
_NUMBERS = 2**26
"""Members, and numbers of them, that are encoded together at most."""


class Train(Protocol):
    """Trains a network in place to the end; what `Codec.fit` is given."""

    def __call__(
        self,
        network: nn.Module,
        loss: Callable[[int], Iterable[Tensor]],
        how: Optimisation,
        waited: Callable[[], float],
    ) -> None:
        """Train on the loss of each step, which comes in parts that add up.

        `waited` says how many seconds the latest loss has waited for data.
        """


class Codec(ABC):
    """A pair of deterministic maps between normalised rows and latents, fitted to members of a bank."""

    latent_dim: int
    """Z."""

    def __init__(self, members: View, kind: Normalization) -> None:
        self.members = members
        self.kind: Normalization = kind
        self.normalizer = members.normalizer(kind)

    @abstractmethod
    def fit(self, train: Train, seed: int) -> None:
        """Fit to the members; `train` trains networks. All randomness is a function of `seed`."""

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """Map normalised rows [B, D] to latents [B, Z]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to normalised rows [B, D]."""

    @abstractmethod
    def state(self) -> Mapping[str, Tensor]:
        """Return the tensors that `load` needs."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Become the codec whose `state` this was; `RuntimeError` or `KeyError` for one of another shape."""

    @torch.no_grad()
    def encode_view(self, view: View) -> Tensor:
        """Return the latents [K, Z] of a view of the same bank, held-out members for instance."""
        together = max(1, min(_TOGETHER, _NUMBERS // view.dim))
        starts = range(0, len(view), together)
        parts = [range(begin, min(begin + together, len(view))) for begin in starts]
        return torch.cat([self.encode(view.batch(part, self.normalizer)) for part in parts])

    @torch.no_grad()
    def variance_kept(self, latents: Tensor) -> float:
        """Return the share of the variance between members that their `latents` [K, Z] keep.

        That is 1 − (squared reconstruction error) / (squared deviation from the members' mean), row by row.
        """
        error = squares = 0.0
        total = torch.zeros(self.members.dim, dtype=torch.float64)
        for index in range(len(self.members)):
            row = self.members.batch([index], self.normalizer)[0].double()
            decoded = self.decode(latents[index : index + 1])[0].cpu()
            error += float((decoded - row).square().sum())
            squares += float(row.square().sum())
            total += row
        return 1 - error / (squares - float(total.square().sum()) / len(self.members))


def largest_power(number: int) -> int:
    """Return the largest power of two up to `number`, 1 at least."""
    return 1 << max(number.bit_length() - 1, 0)


def pieces(count: int, size: int) -> Iterator[slice]:
    """Cut `count` things into slices of nearly equal sizes, `size` at most."""
    number = math.ceil(count / size)
    ends = [count * piece // number for piece in range(number + 1)]
    return (slice(*each) for each in pairwise(ends))
