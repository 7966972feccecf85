"""Take what an experiment came to out of its evaluation."""

from pathlib import Path
from typing import Any, Self

import msgspec

from pdiff.evaluation.schema import FamilyEntry, Results, Scale


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment came to: scores are in the metric's unit, accuracies fractions."""

    folder: str
    scale: Scale
    original: FamilyEntry
    average: FamilyEntry
    """The average of all originals."""
    generated: FamilyEntry
    """Of all seeds of the generator."""
    runs: list[float]
    """Mean score of each seed of the generator."""
    position: str | None
    """Of the verdict: above, on or below the baselines' Pareto front, or none."""

    @classmethod
    def of(cls, folder: Path, results: Results, **what: Any) -> Self:
        """Take an experiment's figures; `what` are the fields that a subclass adds."""
        return cls(
            folder=str(folder),
            scale=results.task.metric,
            original=results.original,
            average=results.ensemble,
            generated=results.generated,
            runs=[run.models.score.mean for run in results.runs],
            position=results.verdict.position,
            **what,
        )
