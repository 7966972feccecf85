"""How good models are on the way from noise: the paper's figure 5b (arXiv 2402.13144)."""

import math
from functools import partial
from typing import Any

import torch

from pdiff.common.errors import PdiffError
from pdiff.common.progress import Progress
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import judge
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.thinning import rounded
from pdiff.generation import Generated
from pdiff.generation.trajectory import trajectory
from pdiff.training import Run

__all__ = ["MODELS", "POINTS", "recorded_run", "reverse"]

MODELS = 8
"""The first generated models are followed, so many."""
POINTS = 12


def recorded_run(generated: Generated) -> Run | str:
    """Return the run that the models were drawn from, or one line on why it cannot be read."""
    try:
        run = Run.open((generated.path / generated.info.run.path).resolve())
    except (PdiffError, OSError) as error:
        return str(error)
    if run.digest != generated.info.run.digest:
        return f"{run.path}: not the run that these models were drawn from"
    return run


def reverse(
    generated: Generated, run: Run | str, predictor: Predictor, device: torch.device, progress: Progress
) -> dict[str, Any]:
    """Judge the first models at several points of the reverse process, like any population.

    Returns `{n, progress, score: {mean, min, max}}` with one value a point (None where a score is not
    finite); progress 0 is noise and 1 the models that `generate` wrote. `{"reason": …}` without a run. All
    processes of a group have to call this, as `judge`.
    """
    if isinstance(run, str):
        return {"reason": run}
    count = min(MODELS, len(generated))
    way = trajectory(run, range(count), generated.info.seed, device, POINTS)
    scores = []
    with progress.track("Following the way from noise", count * len(way.progress), "model") as tracker:
        for point, done in enumerate(way.progress):
            population = Population("reverse", done, count, partial(way.rows, point))
            scores.append(judge(population, predictor, tracker).scores())
    return {
        "n": count,
        "progress": [rounded(done) for done in way.progress],
        "score": {
            "mean": [_finite(float(each.mean())) for each in scores],
            "min": [_finite(float(each.min())) for each in scores],
            "max": [_finite(float(each.max())) for each in scores],
        },
    }


def _finite(value: float) -> float | None:
    """Round for the figure; None for what JSON cannot hold: noise, decoded, may overflow."""
    return rounded(value) if math.isfinite(value) else None
