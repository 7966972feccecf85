"""The table of an evaluation: one row a family, the same for the terminal and for the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdiff.evaluation import label
from pdiff.report.text import number

__all__ = ["COLUMNS", "SummaryRow", "summary", "summary_rows"]

COLUMNS = ("models", "n", "best", "mean", "min", "std", "max-similarity", "dispersion")
"""Headings of `SummaryRow.cells`; accuracies are in per cent."""


@dataclass(frozen=True)
class SummaryRow:
    """One family of models; accuracies are fractions, None is a figure that is not defined for it."""

    family: str
    name: str
    n: int
    best: float
    mean: float
    min: float
    std: float
    max_similarity: float | None
    """Mean of the largest IoU of wrong predictions with a bank member; lower is more novel."""
    dispersion: float | None
    """RMS distance to the family's mean over the bank's; 1 by definition for the originals."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `COLUMNS`."""
        accuracies = (f"{100 * value:.2f}" for value in (self.best, self.mean, self.min, self.std))
        return (
            self.name,
            f"{self.n:,}",
            *accuracies,
            number(self.max_similarity, 3),
            number(self.dispersion, 2),
        )


def summary_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of `results.json` as text: the headings, then a row a family."""
    return [COLUMNS, *(row.cells for row in summary(results))]


def summary(results: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the table of `results.json`: originals, their ensemble, generated models, baselines."""
    novelty = results["novelty"]
    return [
        _row("original", None, results["original"], novelty["original_max_similarity"], 1.0),
        _row("ensemble", None, results["ensemble"], results["ensemble"]["max_similarity"], None),
        _row(
            "generated", None, results["generated"], novelty["max_similarity"]["mean"], novelty["dispersion"]
        ),
        *(
            _row(
                baseline["family"],
                baseline["strength"],
                {"n": baseline["n"], **baseline["accuracy"]},
                baseline["max_similarity"],
                baseline["dispersion"],
            )
            for baseline in results["baselines"]
        ),
    ]


def _row(
    family: str,
    strength: float | None,
    accuracy: Mapping[str, Any],
    max_similarity: float | None,
    dispersion: float | None,
) -> SummaryRow:
    figures = {key: accuracy[key] for key in ("n", "best", "mean", "min", "std")}
    return SummaryRow(
        family, label(family, strength), **figures, max_similarity=max_similarity, dispersion=dispersion
    )
