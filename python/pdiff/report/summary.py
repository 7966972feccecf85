"""Tabulate an evaluation: one row a family, the same for the terminal and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdiff.evaluation.schema import ControlEntry, FamilyEntry, Results, Spread, Summary
from pdiff.report.text import Scale, called, number

COLUMNS = (
    *("models", "n", "mean", "std", "min", "max", "best"),
    *("max-similarity", "containment", "GG", "dispersion", "front"),
)
"""Headings of `SummaryRow.cells`; scores are in the unit of the metric, per cent for fractions."""

_CLOSE = 1e-9


@dataclass(frozen=True)
class SummaryRow:
    """One family of models; None is a figure that is not defined for it."""

    family: str
    strength: float | None
    name: str
    n: int
    scores: Mapping[str, float | None]
    """`mean`, `std`, `min`, `max`, and `best`: the test score of the model that is best on validation."""
    max_similarity: float | None
    """Mean of the largest IoU of wrong predictions with a bank member; lower is more novel."""
    containment: float | None
    """Mean share of the most similar member's errors that the models repeat."""
    gg: float | None
    """Mean IoU of two models of the family."""
    dispersion: float | None
    """RMS distance to the family's mean over the bank's; 1 by definition for the originals."""
    front: str
    """The planes in which it is on the Pareto front of the baselines: `MS`, `GG`, both, none."""
    scale: Scale

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `COLUMNS`."""
        return (
            self.name,
            f"{self.n:,}",
            *(self.scale.bare(self.scores.get(key), 2 if key == "std" else 4) for key in COLUMNS[2:7]),
            number(self.max_similarity, 3),
            number(self.containment, 3),
            number(self.gg, 3),
            number(self.dispersion, 2),
            self.front,
        )


def summary_rows(results: Results) -> list[tuple[str, ...]]:
    """Return the table of an evaluation as text: the headings, then a row a family."""
    return [COLUMNS, *(row.cells for row in summary(results))]


def summary(results: Results) -> list[SummaryRow]:
    """Return the table: originals, their average, generated models, baselines, controls."""
    novelty, average = results.novelty, results.ensemble
    members = (novelty.original_max_similarity, novelty.original_containment, novelty.oo, 1.0)
    ours = (novelty.max_similarity.mean, novelty.containment, novelty.gg, novelty.dispersion)
    alone = (average.max_similarity, None, None, None)
    found = [
        _row(results, "original", results.original.n, _scores(results.original), members),
        _row(results, "ensemble", average.n, {"mean": average.mean}, alone),
        _row(results, "generated", results.generated.n, _scores(results.generated), ours, judged=True),
    ]
    entries: list[FamilyEntry | ControlEntry] = [*results.baselines, *results.controls]
    for each in entries:
        judged = isinstance(each, ControlEntry)
        name, strength = (each.name, None) if isinstance(each, ControlEntry) else (each.family, each.strength)
        place = (each.max_similarity, each.containment, each.gg, each.dispersion)
        row = _row(results, name, each.n, _scores(each.score), place, strength=strength, judged=judged)
        found.append(row)
    return found


def _row(
    results: Results,
    family: str,
    n: int,
    scores: Mapping[str, float | None],
    place: tuple[float | None, float | None, float | None, float | None],
    *,
    strength: float | None = None,
    judged: bool = False,
) -> SummaryRow:
    """Return a row; `place` is max-similarity, containment, GG and dispersion.

    What is `judged` is no part of the Pareto front.
    """
    front = "" if judged else _front(results, scores["mean"], place[0], place[2])
    name = called(results, family, strength)
    return SummaryRow(family, strength, name, n, scores, *place, front, Scale.of(results))


def _scores(entry: Summary | Spread) -> dict[str, float | None]:
    return {key: getattr(entry, key, None) for key in COLUMNS[2:7]}


def _front(results: Results, score: float | None, max_similarity: float | None, gg: float | None) -> str:
    """Return the planes in which no mixture of baselines is better at this family's place."""
    fronts, scale = results.envelopes, Scale.of(results)
    planes = (("MS", max_similarity, fronts.max_similarity), ("GG", gg, fronts.gg))
    return ", ".join(name for name, place, front in planes if _reaches(place, score, front, scale))


def _reaches(
    place: float | None, score: float | None, front: Sequence[tuple[float, float]], scale: Scale
) -> bool:
    """Return whether a point lies on a Pareto front, which is flat outside its vertices."""
    if place is None or score is None or not front:
        return False
    x, y = np.array(front).T
    height = float(np.interp(place, x, y))
    return abs(score - height) < _CLOSE or scale.better(score, height)
