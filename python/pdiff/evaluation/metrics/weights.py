"""Measure where models lie as vectors of weights: how far they spread, how near they come to the bank.

Rows are normalised [M, D] f32: in units of each tensor's standard deviation, with `running_var` in log
space (the bank's "tensor" normaliser). Inner products are taken around the bank's mean, sums are float64.
Everything that distances, spans and segments need are M×K products, which stand for M×D numbers.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pdiff.bank import Bank
from pdiff.bank.rows import Normalization
from pdiff.bank.spectrum import mean_row, spectrum
from pdiff.evaluation.metrics.matching import aligned_distances
from pdiff.evaluation.populations import Population, blocks

if TYPE_CHECKING:
    from pdiff.alignment.groups import Group

_PANEL_NUMBERS = 2**22
"""Numbers of a panel of the bank's columns: 32 MiB as f64, whatever K and D are."""


@dataclass(frozen=True)
class Products:
    """Inner products of M models x and K members m, both around the members' mean."""

    cross: Tensor
    """F64 [M, K], x · m."""
    squares: Tensor
    """F64 [M], ‖x‖²."""
    gram: Tensor
    """F64 [K, K], m · m'."""

    def squared_distances(self) -> Tensor:
        """Return ‖x − m‖² of every pair: f64 [M, K]."""
        return (self.squares[:, None] + self.gram.diagonal() - 2 * self.cross).clamp(min=0)

    def around(self, members: Tensor) -> "Products":
        """Return the products with these members, i64 indices, around their own mean.

        With their mean c, x · m becomes x · m − x · c − m · c + c · c: nothing but the products is needed.
        """
        cross, gram = self.cross[:, members], self.gram[members][:, members]
        to_mean, along = gram.mean(dim=1), cross.mean(dim=1)  # m · c, x · c
        square = to_mean.mean()  # c · c
        return Products(
            cross - along[:, None] - to_mean + square,
            (self.squares - 2 * along + square).clamp(min=0),
            gram - to_mean[:, None] - to_mean + square,
        )


@dataclass(frozen=True)
class Place:
    """How near M models come to the bank, f64 [M]: L2 to the nearest member, another one for a member."""

    normalised: Tensor
    raw: Tensor
    """In the weights' own units."""
    training: Tensor
    """Normalised, to the nearest member that was learned from."""
    aligned: Tensor | None
    """Normalised, after the hidden units were matched to each member's, where asked for."""
    cosine: Tensor
    """F64 [M], of the model's weight matrices with those of the bank's mean; 1 where no matrix varies."""
    products: Products


def bank_products(bank: Bank) -> Products:
    """Return the products of the members with themselves."""
    gram = spectrum(bank, "tensor").gram
    return Products(gram, gram.diagonal(), gram)


def spread(population: Population, bank: Bank) -> float | None:
    """Return the RMS distance of a population's models to their mean; None for a single one."""
    return rms_to_mean(_normalised(population, bank))


def _normalised(population: Population, bank: Bank) -> Iterator[Tensor]:
    for indices in blocks(population.size, bank.dim):
        rows = population.rows(indices)
        bank.normalizer("tensor").apply(rows.numpy())
        yield rows


def rms_to_mean(parts: Iterable[Tensor]) -> float | None:
    """Return sqrt(Σ‖row − mean‖² / (M − 1)), which M does not bias, of blocks of rows; None for one.

    Sums are taken around the first row, so that close rows do not drown in rounding.
    """
    rows = (row.double() for part in parts for row in part)
    centre = next(rows)
    total, squares, count = torch.zeros_like(centre), 0.0, 1
    for row in rows:
        offset = row - centre
        total += offset
        squares += float(offset.square().sum())
        count += 1
    around_mean = squares - float(total.square().sum()) / count
    return math.sqrt(max(around_mean, 0.0) / (count - 1)) if count > 1 else None


def place(
    population: Population, bank: Bank, *, held_out: Sequence[int] = (), align: "Sequence[Group]" = ()
) -> Place:
    """Measure how near a population comes to the bank, block by block in bounded memory.

    `held_out` are the members not learned from, `align` the groups of hidden units to match first.
    """
    parts = []
    for indices in blocks(population.size, bank.dim):
        itself = torch.tensor(indices) if population.family == "original" else None
        parts.append(_block(population.rows(indices), itself, bank, held_out, align))
    return joined(parts)


def joined(parts: Sequence[Place]) -> Place:
    """Return the places of several blocks or runs as those of one."""
    products = [part.products for part in parts]
    cross, squares = torch.cat([p.cross for p in products]), torch.cat([p.squares for p in products])
    normalised, raw, training, cosine = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("normalised", "raw", "training", "cosine")
    )
    aligned = [part.aligned for part in parts if part.aligned is not None]
    together = Products(cross, squares, products[0].gram)
    return Place(normalised, raw, training, torch.cat(aligned) if aligned else None, cosine, together)


def _block(
    rows: Tensor, itself: Tensor | None, bank: Bank, held_out: Sequence[int], align: "Sequence[Group]"
) -> Place:
    """Measure raw rows [B, D]; `itself` i64 [B] says which members they are, if they are."""
    cosine = _cosine(rows, bank)
    squared = _others(products_with(rows, bank, "none", itself), itself)
    raw = distances_to(rows, squared.argmin(dim=1), bank, "none")
    normalizer = bank.normalizer("tensor")
    normalizer.apply(rows.numpy())
    products = products_with(rows, bank, "tensor", itself)
    squared = _others(products, itself)
    normalised = distances_to(rows, squared.argmin(dim=1), bank)
    squared[:, torch.tensor(held_out, dtype=torch.int64)] = torch.inf
    training = distances_to(rows, squared.argmin(dim=1), bank)
    aligned = aligned_distances(bank, rows, normalizer, align, itself) if align else None
    return Place(normalised, raw, training, aligned, cosine, products)


def _cosine(rows: Tensor, bank: Bank) -> Tensor:
    """Return the cosines of raw rows [B, D] with the bank's mean, over tensors of two or more axes."""
    matrices = [segment for segment in bank.layout.segments if len(segment.shape) > 1]
    if not matrices:
        return torch.ones(len(rows), dtype=torch.float64)
    columns = torch.cat([torch.arange(segment.begin, segment.end) for segment in matrices])
    mean = mean_row(bank, "none")[columns].double()
    return functional.cosine_similarity(rows[:, columns].double(), mean[None])


def _others(products: Products, itself: Tensor | None) -> Tensor:
    """Return the squared distances [B, K] to the members, infinite from a member to itself."""
    squared = products.squared_distances()
    if itself is not None:
        squared[torch.arange(len(squared)), itself] = torch.inf
    return squared


def products_with(rows: Tensor, bank: Bank, kind: Normalization, itself: Tensor | None = None) -> Products:
    """Return the products of normalised rows [B, D] with the members; the bank is streamed once.

    `itself` i64 [B] says which members the rows are, if they are: theirs are known already.
    """
    gram = spectrum(bank, kind).gram
    if itself is not None:
        return Products(gram[itself], gram.diagonal()[itself], gram)
    cross = torch.zeros(len(rows), len(bank), dtype=torch.float64)
    squares = torch.zeros(len(rows), dtype=torch.float64)
    width = max(1, _PANEL_NUMBERS // len(bank))
    for begin in range(0, bank.dim, width):
        end = min(begin + width, bank.dim)
        members = bank.batch(range(len(bank)), bank.normalizer(kind), columns=(begin, end)).double()
        mean = members.mean(dim=0)
        offsets = rows[:, begin:end].double() - mean
        cross += offsets @ (members - mean).T
        squares += offsets.square().sum(dim=1)
    return Products(cross, squares, gram)


def distances_to(rows: Tensor, members: Tensor, bank: Bank, kind: Normalization = "tensor") -> Tensor:
    """Return the distances of normalised rows [B, D] to one member each, i64 [B]: f64 [B].

    Computed from the rows: differences of products would blur the small ones, those of copies.
    """
    theirs = bank.batch(members.tolist(), bank.normalizer(kind))
    found: Tensor = torch.linalg.vector_norm(rows.double() - theirs, dim=1)
    return found
