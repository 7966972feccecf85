"""Everybody in the table: the bank's members, generated models, their ensemble, baselines and controls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.evaluation.baselines import baseline_populations, ensemble
from pdiff.evaluation.families import Population
from pdiff.evaluation.subjects import control_populations, run_populations
from pdiff.generation import Generated

__all__ = ["Field", "is_gaussian", "populate"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Field(Generic[T]):
    """One thing for each population: itself, its predictions, its scores."""

    original: T
    runs: tuple[T, ...]
    """One for each generated folder."""
    ensemble: T
    baselines: tuple[T, ...]
    controls: tuple[T, ...]

    def map(self, change: Callable[[T], U]) -> "Field[U]":
        """Return what `change` makes of each, called in the order of iteration."""
        original, ensemble = change(self.original), change(self.ensemble)
        runs = tuple(map(change, self.runs))
        return Field(
            original, runs, ensemble, tuple(map(change, self.baselines)), tuple(map(change, self.controls))
        )

    def __iter__(self) -> Iterator[T]:
        yield from (self.original, self.ensemble, *self.runs, *self.baselines, *self.controls)

    @property
    def rivals(self) -> tuple[T, ...]:
        """Whoever draws the frontier: what one has without a generator."""
        return (self.original, self.ensemble, *self.baselines)


def is_gaussian(population: Population) -> bool:
    """Return whether a population is of the Gaussian that was fitted to the bank, as it is."""
    return (population.family, population.strength) == ("gaussian", 1)


def populate(
    runs: Sequence[Generated],
    bank: Bank,
    controls: Mapping[str, Generated],
    rivals: Sequence[Population],
    *,
    size: int,
    voters: int,
    seed: int,
) -> Field[Population]:
    """Return all populations, `size` models of each baseline; of the Gaussian ×1 `voters` if that is more.

    `rivals` are those that the league adds to the baselines.
    """
    baselines = [
        replace(each, size=max(size, voters)) if is_gaussian(each) else each
        for each in baseline_populations(bank, size, seed)
    ]
    baselines += rivals
    taken = {"original", "generated", "ensemble", *(each.family for each in baselines)}
    if clash := taken & controls.keys():
        raise UsageError(f"control {min(clash)!r}: the name of another row of the table; choose another one")
    return Field(
        Population("original", None, len(bank), bank.batch),
        tuple(run_populations(runs, bank)),
        Population("ensemble", None, 1, lambda _: ensemble(bank)),
        tuple(baselines),
        tuple(control_populations(controls, bank)),
    )
