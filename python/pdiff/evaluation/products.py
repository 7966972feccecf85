"""Inner products of models with the members of a bank: all that distances, spans and segments need.

Rows are normalised, and taken around the bank's mean. K×K and M×K numbers stand for K×D and M×D.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bank import Bank, Normalizer

__all__ = ["Neighbours", "Products", "bank_products", "select"]

_PANEL_NUMBERS = 2**22
"""Numbers of a panel of the bank's columns: 32 MiB as f64, whatever K and D are."""


@dataclass(frozen=True)
class Products:
    """Of M models x and the K members m, both around the members' mean."""

    cross: Tensor
    """F64 [M, K], x · m."""
    squares: Tensor
    """F64 [M], ‖x‖²."""
    gram: Tensor
    """F64 [K, K], m · m'."""

    def squared_distances(self) -> Tensor:
        """Return ‖x − m‖² of every pair: f64 [M, K]."""
        squared = self.squares[:, None] + self.gram.diagonal() - 2 * self.cross
        return squared.clamp(min=0)


class Neighbours:
    """The members of a bank as neighbours of models, in the units of a normaliser."""

    def __init__(self, bank: Bank, normalizer: Normalizer) -> None:
        self._bank = bank
        self._normalizer = normalizer
        self.gram = bank.gram(normalizer)
        """F64 [K, K], centred."""

    def products(self, rows: Tensor, itself: Tensor | None = None) -> Products:
        """Return the products of normalised rows [B, D] with the members; the bank is streamed once.

        `itself` int64 [B] says which members the rows are, if they are: theirs are known already.
        """
        if itself is not None:
            return Products(self.gram[itself], self.gram.diagonal()[itself], self.gram)
        cross = torch.zeros(len(rows), len(self._bank), dtype=torch.float64)
        squares = torch.zeros(len(rows), dtype=torch.float64)
        for begin, end in self._panels():
            members = self._bank.batch(
                range(len(self._bank)), self._normalizer, columns=(begin, end)
            ).double()
            mean = members.mean(dim=0)
            offsets = rows[:, begin:end].double() - mean
            cross += offsets @ (members - mean).T
            squares += offsets.square().sum(dim=1)
        return Products(cross, squares, self.gram)

    def _panels(self) -> Iterator[tuple[int, int]]:
        """Cut the columns so that a panel of all members has bounded memory."""
        width = max(1, _PANEL_NUMBERS // len(self._bank))
        for begin in range(0, self._bank.dim, width):
            yield begin, min(begin + width, self._bank.dim)

    def nearest(self, rows: Tensor, squared: Tensor) -> Tensor:
        """Return the distances f64 [B] of normalised rows to their nearest members by `squared` [B, K].

        Computed anew from the rows: differences of products would blur the small ones, those of copies.
        """
        found = []
        for row, member in zip(rows, squared.argmin(dim=1).tolist(), strict=True):
            found.append((row.double() - self._bank.batch([member], self._normalizer)[0]).norm())
        return torch.stack(found)


def bank_products(gram: Tensor) -> Products:
    """Return the products of the members with themselves, which their centred Gram matrix [K, K] holds."""
    return Products(gram, gram.diagonal(), gram)


def select(found: Products, models: Tensor, members: Tensor) -> Products:
    """Return the products of some models and some members, around the mean of those members.

    `models` and `members` are int64 indices. Moving the origin from the mean of all to theirs needs nothing
    but the products: x · m becomes x · m − x · c − m · c + c · c with their mean c.
    """
    cross = found.cross[models][:, members]
    gram = found.gram[members][:, members]
    to_mean = gram.mean(dim=1)  # m · c
    along = cross.mean(dim=1)  # x · c
    square = to_mean.mean()  # c · c
    return Products(
        cross - along[:, None] - to_mean + square,
        (found.squares[models] - 2 * along + square).clamp(min=0),
        gram - to_mean[:, None] - to_mean + square,
    )
