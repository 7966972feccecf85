"""Decide where the generated models lie: above the Pareto front of the baselines, on it, or below it.

In each plane the position is that of the 95 % interval of the margin over the front: above 0, below 0, or
around it. The verdict is "above" only if both positions are, and of no fewer models than `FEW`: the plane of
max-similarity alone rewards moving the whole cloud away from the bank, that of GG alone rewards damage. It is
"below" if either is.
"""

import numpy as np

from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import DataKind
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.schema import (
    AccessEntry,
    Bootstrap,
    Difference,
    Fronts,
    PlaneEntry,
    Position,
    Scale,
    Verdict,
)
from pdiff.evaluation.verdict.bootstrap import LEVEL, Margins, bootstrap, interval, unrounded
from pdiff.evaluation.verdict.comparison import Comparison, Estimates, Plane
from pdiff.evaluation.verdict.pareto_front import Mixture, Values, gg_front, vertices
from pdiff.generators.sweeps import label

FEW = 5
"""Models of a run below which intervals over them are too narrow for anything to be above."""

_COMPARED: dict[DataKind, str] = {
    "weights": "with baselines from weights alone",
    "inputs": "with baselines from weights and unlabelled inputs",
    "gradients": "with baselines from training gradients",
}


def position(low: float, high: float) -> Position:
    """Return where an interval of margins lies."""
    if low > 0:
        return "above"
    return "below" if high < 0 else "on"


def decide(
    comparison: Comparison,
    access: AccessEntry,
    scale: Scale,
    *,
    seed: int,
    replicates: int,
    progress: Progress = SILENT,
) -> Verdict:
    """Return the verdict, but for findings and advice; `seed` draws the bootstrap's `replicates`.

    Scores are in the metric's unit; margins are positive where the generated models are better. `at_gg` is
    None for a generator with one model.
    """
    estimates = comparison.estimates(comparison.everything())
    margins = bootstrap(comparison, replicates=replicates, seed=seed, progress=progress)
    at_similarity = _entry(comparison, estimates.in_max_similarity, margins.max_similarity)
    gg = estimates.in_gg
    at_gg = None if gg is None or margins.gg is None else _entry(comparison, gg, margins.gg)
    overall = _overall(at_similarity, at_gg)
    but = "" if at_gg else "; a single generated model has no GG"
    fewest = min(len(run.wrong) for run in comparison.groups[: comparison.runs])
    if overall == "above" and fewest < FEW:
        overall, but = "on", f"; {fewest} generated models are too few to be above"
    compared = _COMPARED[access.kind]
    if access.asked != access.kind:
        compared += ": there was nothing to re-estimate"
    over = ["samples", "models", *(["runs"] if comparison.runs > 1 else [])]
    return Verdict(
        position=overall,
        sentence=_sentence(overall, at_similarity, at_gg, f"{but} ({compared})", scale),
        over_originals=Difference(
            difference=unrounded(estimates.over_originals),
            interval=interval(estimates.over_originals, margins.over_originals),
        ),
        at_max_similarity=at_similarity,
        at_gg=at_gg,
        concentration=_concentration(estimates, margins),
        findings=[],
        bootstrap=Bootstrap(replicates=replicates, level=LEVEL, seed=seed, over=over),
    )


def fronts(comparison: Comparison) -> Fronts:
    """Return the front's vertices in both planes, scores in the metric's unit."""
    estimates = comparison.estimates(comparison.everything())
    x, score, several = estimates.baseline_similarities, estimates.baseline_scores, estimates.several
    gg = gg_front(estimates.baseline_gg[np.ix_(several, several)], score[several]) if len(several) else []
    return Fronts(
        max_similarity=[(float(x[i]), comparison.oriented(float(score[i]))) for i in vertices(x, score)],
        gg=[(place, comparison.oriented(best)) for place, best in gg],
    )


def _entry(comparison: Comparison, plane: Plane, margins: Values) -> PlaneEntry:
    """Return what is said about one plane."""
    low, high = interval(plane.margin, margins)
    return PlaneEntry(
        at=plane.at,
        score=comparison.oriented(plane.score),
        front=comparison.oriented(plane.front.score),
        margin=unrounded(plane.margin),
        interval=(low, high),
        position=position(low, high),
        reached_by=_name(comparison.baselines, plane.front),
    )


def _concentration(estimates: Estimates, margins: Margins) -> Difference | None:
    """Return by how much more alike the generated models are than members, with its interval."""
    found = estimates.concentration
    if found is None or margins.concentration is None:
        return None
    return Difference(difference=found, interval=interval(found, margins.concentration))


def _name(baselines: tuple[Predictions, ...], mixture: Mixture) -> str:
    """Return the families that reach the front: `mixture of Gaussian ×1 and average of 16`."""
    populations = [baselines[index].population for index in (mixture.first, mixture.second)]
    first, second = (label(each.family, each.strength) for each in populations)
    if mixture.share in {0.0, 1.0} or mixture.first == mixture.second:
        return second if mixture.share == 1 else first
    return f"mixture of {first} and {second}"


def _overall(similarity: PlaneEntry, gg: PlaneEntry | None) -> Position:
    """Return the verdict from both planes; a plane that is not there keeps it from being above."""
    positions = [similarity.position, gg.position if gg else None]
    if "below" in positions:
        return "below"
    return "above" if positions == ["above", "above"] else "on"


def _sentence(
    overall: Position, similarity: PlaneEntry, gg: PlaneEntry | None, tail: str, scale: Scale
) -> str:
    """Say it in one sentence: `Below the Pareto front: −0.24 points (−0.36 to −0.15) at …`."""
    parts = []
    for entry, name in ((similarity, "max-similarity"), (gg, "GG")):
        if entry is not None:
            low, high = map(scale.difference, entry.interval)
            margin = f"{scale.difference(entry.margin)} {scale.points} ({low} to {high})"
            parts.append(f"{margin} at {name} {entry.at:.3f} ({entry.position})")
    return f"{overall.capitalize()} the Pareto front: {' and '.join(parts)}{tail}."
