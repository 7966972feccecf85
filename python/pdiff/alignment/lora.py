"""Remove the freedom of LoRA factors, so that adapters that do the same have the same numbers.

The adapter of a layer is ΔW = B A, with A [r, in] and B [out, r] (Hu et al., arXiv 2106.09685). B G and G⁻¹ A
are the same adapter for every invertible G, so that adapters trained apart cannot be averaged number by
number. Balanced factors, B = U √S and A = √S Vᵀ of the singular value decomposition ΔW = U S Vᵀ, leave an
orthogonal G. Of those this takes the one that brings [B; Aᵀ] closest to a reference (Schönemann 1966). It
depends on ΔW alone, and changes smoothly with it, where the order and the signs of singular vectors would
jump.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdiff._core import Segment
from pdiff.bank import Bank
from pdiff.bank.rewriting import Change
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import Progress
from pdiff.common.wording import agreeing, counted

Values = NDArray[np.float64]

_FIRST = re.compile(r"(?<=lora_)A\b|(?<=lora_embedding_)A\b|(?<=lora[_.])down\b")
_SECOND = {"A": "B", "down": "up"}

_ROUNDING = 1e-6
"""Singular values below this share of the largest are what rounding to f32 leaves of none."""


class Pair(NamedTuple):
    """The two factors of an adapter, by where they lie in a row."""

    first: Segment
    """A [r, in, …]."""
    second: Segment
    """B [out, r, …]."""

    def of(self, row: NDArray[Any]) -> Values:
        """Return the balanced factors of a row [D] as [B; Aᵀ], [out + in, r], up to an orthogonal G."""
        first = self._part(row, self.first).T.astype(np.float64)
        second = self._part(row, self.second).astype(np.float64)
        (first_axes, first_rest), (second_axes, second_rest) = np.linalg.qr(first), np.linalg.qr(second)
        left, sizes, right = np.linalg.svd(second_rest @ first_rest.T, full_matrices=False)
        sizes[sizes <= _ROUNDING * sizes.max()] = 0  # whose directions are chance
        found = np.zeros((len(second) + len(first), self.rank))
        stacked = np.concatenate([second_axes @ left, first_axes @ right.T]) * np.sqrt(sizes)
        found[:, : len(sizes)] = stacked
        return found

    def put(self, row: NDArray[Any], factors: Values) -> None:
        """Write factors [B; Aᵀ] into a row, in place."""
        outputs = self.second.shape[0]
        self._part(row, self.second)[:] = factors[:outputs]
        self._part(row, self.first)[:] = factors[outputs:].T

    @property
    def rank(self) -> int:
        """The number r of rows of A and of columns of B."""
        rank: int = self.first.shape[0]
        return rank

    @staticmethod
    def _part(row: NDArray[Any], segment: Segment) -> NDArray[Any]:
        """Return a factor as a view of a row: [first axis, all others]."""
        return row[segment.begin : segment.end].reshape(segment.shape[0], -1)


def pairs(bank: Bank) -> list[Pair]:
    """Return the pairs of factors in a bank's rows, by the names that peft, diffusers and kohya give them.

    Raises `InputError` for rows without any, and for shapes that do not go together.
    """
    segments = {segment.name: segment for segment in bank.layout.segments}
    found = [
        Pair(segment, segments[name])
        for segment in segments.values()
        if (name := _second_name(segment.name)) is not None and name in segments
    ]
    if not found:
        raise InputError(
            f"{bank.path}: its rows hold no two LoRA factors of one layer (*lora_A* and *lora_B*, "
            "*lora_down* and *lora_up*), so nothing can be aligned"
        )
    for first, second in found:
        if len(first.shape) < 2 or second.end - second.begin != second.shape[0] * first.shape[0]:
            raise InputError(
                f"{bank.path}: {first.name} {first.shape} and {second.name} {second.shape} are not the "
                "factors of one matrix; expected [r, in] and [out, r]"
            )
    return found


def _second_name(first: str) -> str | None:
    """Return the name of the factor that goes with one named `first`, None for another name."""
    marker = _FIRST.search(first)
    return (
        None if marker is None else first[: marker.start()] + _SECOND[marker.group()] + first[marker.end() :]
    )


def factors_aligned(bank: Bank, progress: Progress) -> Change:
    """Return what brings the LoRA factors of a member close to those of all others.

    The reference of a layer is the mean of all members, after they were brought close to the one with the
    largest ΔW. Raises `UsageError` for rows stored in 16 bits, `InputError` as `pairs`.
    """
    if bank.manifest.dtype != "F32":
        raise UsageError("--align lora computes new factors; collect with --store-dtype f32")
    found, members = pairs(bank), range(len(bank))
    progress.message(f"{counted(len(found), 'pair')} of LoRA factors {agreeing(len(found), 'are')} aligned")
    with progress.track("Aligning LoRA factors", 2 * len(bank), "checkpoint") as tracker:

        def every() -> Iterator[list[Values]]:
            for index in members:
                yield [pair.of(bank.row(index)) for pair in found]
                tracker.advance()

        largest = [np.zeros((1, 1)) for _ in found]
        for factors in every():
            largest = [max(pair, key=_norm) for pair in zip(factors, largest, strict=True)]
        sums = [np.zeros_like(each) for each in largest]
        for factors in every():
            for place, mine in enumerate(factors):
                sums[place] += turned(mine, largest[place])

    def aligned(_: int, row: NDArray[Any]) -> NDArray[Any]:
        row = row.copy()
        for pair, reference in zip(found, sums, strict=True):
            pair.put(row, turned(pair.of(row), reference))
        return row

    return aligned


def _norm(values: Values) -> float:
    return float(np.linalg.norm(values))


def turned(factors: Values, reference: Values) -> Values:
    """Return the orthogonal turn of factors [n, r] that is closest to a reference [n, r]."""
    left, _, right = np.linalg.svd(factors.T @ reference)
    turn: Values = factors @ (left @ right)
    return turn
