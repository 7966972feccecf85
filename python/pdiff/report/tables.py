"""Tabulate an evaluation: a row a family, for terminal and page alike, and the novelty measures."""

import csv
from collections.abc import Sequence
from io import StringIO
from string import Formatter
from typing import Any, NamedTuple

import numpy as np

from pdiff.evaluation.schema import FamilyEntry, Results, Scale
from pdiff.generators.sweeps import label

COLUMNS = (
    *("models", "n", "mean", "std", "min", "max", "best"),
    *("max-similarity", "containment", "GG", "dispersion", "front"),
)
"""Headings of a row; scores are in the unit of the metric, per cent for fractions.

`best` is the test score of the model that is best on validation, `front` the planes in which a family is on
the Pareto front of the baselines: `MS`, `GG`, both, none. Without a verdict there is no such column.
"""

_LEAST_FIRST = ("min", "max", "front", "containment", "std", "best", "n", "dispersion", "GG")
"""Columns in the order in which a narrow terminal leaves them out; name, mean and max-similarity stay."""
_GAP = 2
"""Characters between two columns."""
_NEAREST = 3
"""Families on the Pareto front that a short table names."""
_CLOSE = 1e-9


class Row(NamedTuple):
    """One family, its cells as text in the order of `columns`, and the planes in which it is on the front."""

    entry: FamilyEntry
    cells: tuple[str, ...]
    front: str


class Table(NamedTuple):
    """The table of an evaluation as a terminal shows it, and what it leaves out for want of space."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    families: int
    """Families that are left out."""
    columns: tuple[str, ...]
    """Columns that are left out."""


def terminal_table(results: Results, width: int, *, everything: bool = False) -> Table:
    """Return the table of an evaluation for a terminal of so many columns.

    Without `everything` it has the originals, their average, the generated models, the best baseline, the
    families that draw the Pareto front nearest to the generated models, and the controls.
    """
    found = summary(results)
    chosen = found if everything else _short(results, found)
    header, rows, left_out = fitted(columns(results), [row.cells for row in chosen], _LEAST_FIRST, width)
    return Table(header, rows, len(found) - len(chosen), left_out)


def fitted(
    names: Sequence[str], rows: Sequence[Sequence[str]], least_first: Sequence[str], width: int
) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]]:
    """Leave out columns of a table, `least_first`, until it is no wider than `width` characters.

    Returns heading and rows of what is left, and the names of the columns that are not.
    """
    kept = list(range(len(names)))
    widths = [max(len(row[column]) for row in (names, *rows)) for column in kept]
    for name in least_first:
        if sum(widths[column] + _GAP for column in kept) <= width:
            break
        if name in names:
            kept.remove(names.index(name))
    header, *others = (tuple(row[column] for column in kept) for row in (names, *rows))
    return header, others, tuple(name for column, name in enumerate(names) if column not in kept)


def _short(results: Results, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the verdict is about, in their order."""
    scale, ours = results.task.metric, results.generated
    baselines = [row for row in rows if row.entry in results.baselines]

    def distance(row: Row) -> float:
        return abs(row.entry.max_similarity - ours.max_similarity)

    front = sorted((row for row in baselines if row.front), key=distance)[:_NEAREST]
    sign = 1 if scale.higher_is_better else -1
    best = max(baselines, key=lambda row: sign * row.entry.score.mean, default=None)
    return [row for row in rows if row not in baselines or row in front or row is best]


def columns(results: Results) -> tuple[str, ...]:
    """Return the headings of the table: without a verdict there is no Pareto front to be on."""
    return COLUMNS if results.verdict.position else COLUMNS[:-1]


def summary(results: Results) -> list[Row]:
    """Return the table: originals, their average, generated models, baselines, controls."""
    front = [results.original, results.ensemble, *results.baselines]
    ours = [results.original, results.ensemble, results.generated]
    return [
        _row(results, each, _front(results, each) if each in front else "")
        for each in (*ours, *results.baselines, *results.controls)
    ]


def _row(results: Results, entry: FamilyEntry, front: str) -> Row:
    scale, score, best = results.task.metric, entry.score, entry.best
    spread = (score.std, score.min, score.max) if entry.n > 1 else (None, None, None)
    cells = (
        called(results, entry.family, entry.strength),
        f"{entry.n:,}",
        scale.bare(score.mean),
        *(scale.bare(value, digits) for value, digits in zip(spread, (2, 4, 4), strict=True)),
        scale.bare(None if best is None else best.test),
        number(entry.max_similarity, 3),
        number(entry.containment, 3),
        number(entry.gg, 3),
        number(entry.dispersion, 2),
        front,
    )
    return Row(entry, cells[: len(columns(results))], front)


def _front(results: Results, entry: FamilyEntry) -> str:
    """Return the planes in which no mixture of baselines is better at this family's place."""
    scale, score, fronts = results.task.metric, entry.score.mean, results.fronts
    planes = (("MS", entry.max_similarity, fronts.max_similarity), ("GG", entry.gg, fronts.gg))
    return ", ".join(name for name, place, front in planes if _reaches(place, score, front, scale))


def _reaches(place: float | None, score: float, front: Sequence[tuple[float, float]], scale: Scale) -> bool:
    """Return whether a point lies on a Pareto front, which is flat outside its vertices."""
    if place is None or not front:
        return False
    x, y = np.array(front).T
    height = float(np.interp(place, x, y))
    return abs(score - height) < _CLOSE or scale.better(score, height)


def called(results: Results, family: str, strength: float | None = None) -> str:
    """Return how people call a family at one strength; the generated models as the evaluation does."""
    return results.name if family == "generated" else label(family, strength)


def number(value: float | None, digits: int) -> str:
    """Format with a fixed number of digits; a dash for a figure that is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def scores_csv(results: Results) -> str:
    """Return one line a model of originals and generated ones: its file, scores and novelty, as CSV.

    Scores are in the metric's unit; `selected` marks the model of each family that is best on validation.
    """
    scores = ("validation", "max_similarity", "containment", "nll")
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["family", "file", results.task.metric.name, *scores, "selected"])
    for entry in (results.original, results.generated):
        best = None if entry.best is None else entry.best.index
        for index, point in enumerate(each for each in results.points if each.family == entry.family):
            figures = [point.score, *(getattr(point, name) for name in scores)]
            texts = ["" if figure is None else f"{figure:.9g}" for figure in figures]
            lines.writerow([entry.family, point.file, *texts, "yes" if index == best else ""])
    return text.getvalue()


class Measure(NamedTuple):
    """One figure of the report."""

    name: str
    value: str
    reference: str
    """What the originals have, or what would be ideal."""
    meaning: str


_CLOSEST = " The closest model is at {0.min:.3g}; near 0 is a copy."
_ERRORS = (
    (
        *("Max-similarity", "{1.generated.max_similarity:.3f}", "originals {1.original.max_similarity:.3f}"),
        "Overlap (IoU) of a model's wrong predictions with those of the most similar bank member: from "
        "{0.similarities[0]:.3f} to {0.similarities[1]:.3f}, mean above. Lower is newer.",
    ),
    (
        *("Containment", "{1.generated.containment:.3f}", "originals {1.original.containment:.3f}"),
        "Share of that member's errors that the model repeats. High beside a low max-similarity, it gives a "
        "damaged copy away.",
    ),
    (
        *("Similarity within (GG)", "{1.generated.gg:.3f}", "originals (OO) {1.original.gg:.3f}"),
        "Mean overlap of the errors of two generated models. Above OO, they are more alike than the "
        "originals are.",
    ),
    (
        *("Nearest generated", "{0.gg_nearest:.3f}", "originals {1.original.max_similarity:.3f}"),
        "Overlap with the most similar other generated model, mean over models.",
    ),
    (
        *("Distinct models", "{0.distinct:,}"),
        "of {1.generated.n:,} generated; originals {0.distinct_original:,} of {1.original.n:,}",
        "As many can be picked, one after the other, that overlap pairwise by less than half.",
    ),
    (
        *("Similarity across (OG)", "{0.og:.3f}", "originals (OO) {1.original.gg:.3f}"),
        "Mean overlap between a generated model and an original, over all pairs.",
    ),
    (
        *("Dispersion", "{1.generated.dispersion:.2f}", "originals 1 by definition"),
        "Spread of the weights around their mean over the bank's. Well under 1 is averaging.",
    ),
)
"""Name, value, reference and meaning; 0 is the novelty, 1 the results."""
_DISTANCES = (
    (
        *("Distance to the bank", "l2_nearest", "l2_nearest_original"),
        "L2 distance of the weights to the nearest member, in units of each tensor's standard deviation.",
    ),
    ("Raw distance", "l2_nearest_raw", "l2_nearest_raw_original", "The same in raw units."),
    (
        *("Aligned distance", "l2_nearest_aligned", "l2_nearest_original"),
        "The same after hidden units are brought into the member's order.",
    ),
)
"""Name, the generated models', the originals', meaning."""
_COPYING = (
    *("Copying (Z_U)", "{0.value:+.2f}", "{0.generated:,} generated against {0.held_out:,} held out"),
    "Whether generated models lie closer to the members that were learned from than members that were held "
    "out do (Mann-Whitney z). Far below 0 is copying; above 0 says nothing about a bank of one trajectory, "
    "whose held-out members lie between their neighbours in time, nearer than any draw does.",
)
_NO_COPYING = ("Copying (Z_U)", "–", "", "Not measured: {0.reason}.")
_HULL = (
    *("Off the hull", "{0.generated:.3f}", "held-out members {0.held_out:.3f}"),
    "Distance to the affine hull of the members over the distance to their mean. 0 is a combination of "
    "members, as averages and principal components are.",
)
_SEGMENTS = (
    *("Segments", "{0.generated:.3f}", "originals {0.original:.3f}"),
    "Distance to the nearest segment between two members over that to the nearest member. 0 is interpolation "
    "of two, 1 where no segment comes nearer.",
)


class _Dashes(Formatter):
    """Formats what is not defined as a dash."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Format one value."""
        return "–" if value is None else str(super().format_field(value, format_spec))


def measures(results: Results) -> list[Measure]:
    """Return the novelty measures of an evaluation in the order of the page."""
    novelty, hull = results.novelty, results.geometry.affine_hull
    found = [_filled(row, novelty, results) for row in _ERRORS]
    for name, ours, originals, meaning in _DISTANCES:
        if (nearest := getattr(novelty, ours)) is not None:
            row = (name, "{0.mean:.3g}", "originals {1.mean:.3g}", meaning + _CLOSEST)
            found.append(_filled(row, nearest, getattr(novelty, originals)))
    found.append(_filled(_NO_COPYING if novelty.z_u.value is None else _COPYING, novelty.z_u))
    if hull is not None:
        measure = _filled(_HULL, hull)
        found.append(measure if hull.held_out is not None else measure._replace(reference=""))
    return [*found, _filled(_SEGMENTS, results.geometry.segments)]


def _filled(row: tuple[str, ...], *facts: object) -> Measure:
    return Measure(*(_Dashes().format(text, *facts) for text in row))
