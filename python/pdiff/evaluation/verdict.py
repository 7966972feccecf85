"""Where the generated models stand: above the frontier of their league, on it, or below it.

In each plane the position is that of the 95 % interval of the margin over the frontier: above 0, below 0, or
around it. The verdict is "above" only if both positions are, and of no fewer models than `FEW`: the plane of
max-similarity alone rewards moving the whole cloud away from the bank, that of GG alone rewards damage. It is
"below" if either is.
"""

from typing import Any, Literal

import numpy as np

from pdiff.common.progress import SILENT, Progress
from pdiff.evaluation.bootstrap import LEVEL, Margins, bootstrap, interval
from pdiff.evaluation.contest import Contest, Plane, Standing
from pdiff.evaluation.envelope import Mixture, Values, gg_frontier, hull
from pdiff.evaluation.families import League, label
from pdiff.tasks.base import Metric

__all__ = ["FEW", "REPLICATES", "Position", "envelopes", "position", "verdict"]

REPLICATES = 500

FEW = 5
"""Models of a run below which intervals over them are too narrow for anything to be above."""

Position = Literal["above", "on", "below"]

_LEAGUES: dict[League, str] = {
    "weights": "weights-only league",
    "inputs": "league of weights and unlabelled inputs",
    "gradients": "league of training gradients",
}


def position(low: float, high: float) -> Position:
    """Return where an interval of margins lies."""
    if low > 0:
        return "above"
    return "below" if high < 0 else "on"


def verdict(
    contest: Contest,
    *,
    league: League,
    asked: League | None = None,
    metric: Metric | None,
    seed: int,
    replicates: int = REPLICATES,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Return the part `verdict` of the results, but for the findings.

    `score` and `frontier` are in the metric's unit; `margin` and `interval` are positive where the generated
    models are better. `at_gg` is None for a generator with one model.
    `asked` is the league that was asked for, another one only where there was nothing to re-estimate.
    """
    standing = contest.standing(contest.everything())
    margins = bootstrap(contest, replicates=replicates, seed=seed, progress=progress)
    similarity, gg = standing.in_max_similarity, standing.in_gg
    at_similarity = _entry(contest, similarity, margins.max_similarity)
    at_gg = None if gg is None or margins.gg is None else _entry(contest, gg, margins.gg)
    compared = _LEAGUES[league]
    if asked not in (None, league):
        compared += ": there was nothing to re-estimate"
    overall = _overall([at_similarity["position"], None if at_gg is None else at_gg["position"]])
    but = "" if at_gg else "; a single generated model has no GG"
    fewest = min(len(run.wrong) for run in contest.groups[: contest.runs])
    if overall == "above" and fewest < FEW:
        overall, but = "on", f"; {fewest} generated models are too few to be above"
    return {
        "league": league,
        "position": overall,
        "sentence": _sentence(overall, at_similarity, at_gg, f"{but} ({compared})", metric),
        "at_max_similarity": at_similarity,
        "at_gg": at_gg,
        "concentration": _concentration(standing, margins),
        "bootstrap": {
            "replicates": replicates,
            "level": LEVEL,
            "seed": seed,
            "over": ["samples", "models", *(["runs"] if contest.runs > 1 else [])],
        },
    }


def envelopes(contest: Contest) -> dict[str, list[list[float]]]:
    """Return the frontier's vertices [[x, score], …] in both planes, scores in the metric's unit."""
    standing = contest.standing(contest.everything())
    x, score = standing.rival_similarities, standing.rival_scores
    several = standing.several
    gg = gg_frontier(standing.rival_gg[np.ix_(several, several)], score[several]) if len(several) else []
    return {
        "max_similarity": [
            [float(x[vertex]), contest.oriented(float(score[vertex]))] for vertex in hull(x, score)
        ],
        "gg": [[place, contest.oriented(best)] for place, best in gg],
    }


def _entry(contest: Contest, plane: Plane, margins: Values) -> dict[str, Any]:
    """Return what is said about one plane."""
    low, high = interval(plane.margin, margins)
    return {
        "at": plane.at,
        "score": contest.oriented(plane.score),
        "frontier": contest.oriented(plane.rival.score),
        "margin": plane.margin,
        "interval": [low, high],
        "position": position(low, high),
        "rival": _name(contest, plane.rival),
    }


def _concentration(standing: Standing, margins: Margins) -> dict[str, Any] | None:
    """Return by how much more alike the generated models are than members, with its interval."""
    if standing.concentration is None or margins.concentration is None:
        return None
    found = interval(standing.concentration, margins.concentration)
    return {"difference": standing.concentration, "interval": list(found)}


def _name(contest: Contest, rival: Mixture) -> str:
    """Return the families that reach the frontier: `mixture of Gaussian ×1 and average of 16`."""
    populations = [contest.rivals[index].population for index in (rival.first, rival.second)]
    first, second = (label(each.family, each.strength) for each in populations)
    if rival.share in {0.0, 1.0} or rival.first == rival.second:
        return second if rival.share == 1 else first
    return f"mixture of {first} and {second}"


def _overall(positions: list[Position | None]) -> Position:
    """Return the verdict from both planes; a plane that is not there keeps it from being above."""
    if "below" in positions:
        return "below"
    return "above" if positions == ["above", "above"] else "on"


def _sentence(
    overall: Position,
    similarity: dict[str, Any],
    gg: dict[str, Any] | None,
    tail: str,
    metric: Metric | None,
) -> str:
    """Say it in one sentence."""
    places = [(similarity, "max-similarity")] + ([(gg, "GG")] if gg else [])
    if overall == "above":
        parts = [f"by {_margin(entry, metric)} at {name} {entry['at']:.3f}" for entry, name in places]
        return f"Above the frontier {' and '.join(parts)}{tail}."
    parts = [
        f"{_margin(entry, metric, sign=True)} at {name} {entry['at']:.3f} ({entry['position']})"
        for entry, name in places
    ]
    where = "On" if overall == "on" else "Below"
    return f"{where} the frontier: {' and '.join(parts)}{tail}."


def _margin(entry: dict[str, Any], metric: Metric | None, *, sign: bool = False) -> str:
    """Return a margin with its interval, which need not be symmetric: `0.24 points (0.15 to 0.36)`."""
    percent = metric is None or metric.percent
    scale, digits = (100, ".2f") if percent else (1, ".3g")
    low, high = (f"{scale * end:{digits}}" for end in entry["interval"])
    margin = f"{scale * entry['margin']:{'+' if sign else ''}{digits}}"
    unit = "points" if percent else metric.name  # type: ignore[union-attr]
    return f"{margin} {unit} ({low} to {high})".replace("-", "−")
