"""Score the states between noise and generated models: the paper's figure 5b (arXiv 2402.13144)."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pdiff.common.config import Config
from pdiff.common.errors import PdiffError
from pdiff.common.progress import Progress, Tracker
from pdiff.evaluation.figure_data.weight_space import rounded
from pdiff.evaluation.populations import Population
from pdiff.evaluation.schema import ReverseData
from pdiff.generation.generated import Generated
from pdiff.generators.latent import Latent, trajectory
from pdiff.generators.train import load_generator
from pdiff.training import Run

MODELS = 8
"""The first generated models are followed, so many."""
POINTS = 12


def recorded_run(generated: Generated) -> Run | str:
    """Return the run that the models were drawn from, or in one line why there is none."""
    reference = generated.info.generator
    if not reference.path:
        return f"the generator {reference.family} was fitted without a run"
    try:
        run = Run.open((generated.path / reference.path).resolve())
    except (PdiffError, OSError) as error:
        return str(error)
    if run.digest != reference.digest:
        return f"{run.path}: not the run that these models were drawn from"
    return run


def reverse(
    generated: Generated,
    run: Run,
    scored: Callable[[Population, Tracker], Tensor],
    device: torch.device,
    progress: Progress,
) -> ReverseData | str:
    """Score the first models at several points of the reverse process, or say why there is none.

    Progress 0 is noise and 1 the models that `generate` wrote; None is a score that is not finite. All
    processes of a group have to call this, as `scored` asks for.
    """
    config = Config.from_values(generated.info.generator.config)
    generator = load_generator(run, device, config=config)
    if generated.info.conditions:
        generator.ask(generated.info.conditions)
    if not isinstance(generator, Latent):
        return f"the generator {run.config.family} has no way from noise"
    count = min(MODELS, len(generated))
    way = trajectory(generator, range(count), generated.info.seed, POINTS)
    scores = []
    with progress.track("Following the way from noise", count * len(way.progress), "model") as tracker:
        for point, done in enumerate(way.progress):
            scores.append(scored(Population("reverse", done, count, partial(way.rows, point)), tracker))
    return ReverseData(
        n=count,
        progress=[rounded(done) for done in way.progress],
        score={
            "mean": [_finite(float(each.mean())) for each in scores],
            "min": [_finite(float(each.min())) for each in scores],
            "max": [_finite(float(each.max())) for each in scores],
        },
    )


def _finite(value: float) -> float | None:
    """Round for the figure; None for what JSON cannot hold: noise, decoded, may overflow."""
    return rounded(value) if math.isfinite(value) else None
