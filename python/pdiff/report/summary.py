"""The table of an evaluation: one row a family, the same for the terminal and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pdiff.evaluation import label
from pdiff.report.text import Scale, number

__all__ = ["COLUMNS", "SummaryRow", "summary", "summary_rows"]

COLUMNS = (
    *("models", "n", "mean", "std", "min", "max", "best"),
    *("max-similarity", "containment", "GG", "dispersion", "frontier"),
)
"""Headings of `SummaryRow.cells`; scores are in the unit of the metric, per cent for fractions."""

_CLOSE = 1e-9
_PLACE = ("max_similarity", "containment", "gg", "dispersion")


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
    frontier: str
    """The planes in which no mixture is better, for whoever draws the frontier: `MS`, `GG`, both, none."""
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
            self.frontier,
        )


def summary_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of `results.json` as text: the headings, then a row a family."""
    return [COLUMNS, *(row.cells for row in summary(results))]


def summary(results: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the table of `results.json`: originals, ensemble, generated models, baselines, controls."""
    scale, novelty, ensemble = Scale.of(results), results["novelty"], results["ensemble"]
    original = {
        "max_similarity": novelty["original_max_similarity"],
        "containment": novelty["original_containment"],
        "gg": novelty["oo"],
        "dispersion": 1.0,
    }
    ours = {
        "max_similarity": novelty["max_similarity"]["mean"],
        **{key: novelty[key] for key in ("containment", "gg", "dispersion")},
    }
    frontier = partial(_frontier, results["envelopes"], scale)
    rows = [
        ("original", None, results["original"], original, frontier(results["original"], original)),
        ("ensemble", None, ensemble, ensemble, frontier(ensemble, ensemble)),
        ("generated", None, results["generated"], ours, ""),
    ]
    for each in results["baselines"]:
        scores = {"n": each["n"], **each["score"]}
        rows.append((each["family"], each["strength"], scores, each, frontier(scores, each)))
    rows += [
        (each["name"], None, {"n": each["n"], **each["score"]}, each, "") for each in results["controls"]
    ]
    return [
        SummaryRow(
            family,
            strength,
            label(family, strength),
            scores["n"],
            scores,
            **{key: place.get(key) for key in _PLACE},
            frontier=on,
            scale=scale,
        )
        for family, strength, scores, place, on in rows
    ]


def _frontier(
    envelopes: Mapping[str, Any], scale: Scale, scores: Mapping[str, Any], place: Mapping[str, Any]
) -> str:
    """Return the planes in which no mixture is better at this family's place."""
    return ", ".join(
        name
        for name, plane in (("MS", "max_similarity"), ("GG", "gg"))
        if _reaches(place.get(plane), scores["mean"], envelopes[plane], scale)
    )


def _reaches(place: float | None, score: float, vertices: Sequence[Sequence[float]], scale: Scale) -> bool:
    """Return whether a point lies on the line through `vertices`, which is flat outside them."""
    if place is None or not vertices:
        return False
    x, y = np.array(vertices).T
    height = float(np.interp(place, x, y))
    return abs(score - height) < _CLOSE or scale.better(score, height)
