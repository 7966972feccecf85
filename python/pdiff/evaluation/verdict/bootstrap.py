"""Estimate how far the margins would move with other test samples, models and runs.

Each replicate draws test samples and the models of every family anew, with replacement, and, where several
generated folders are given, the folders before their models. Everything is computed again from the draw:
similarities, scores, the Pareto front, and the margin over it. The bank is what it is: it is not drawn.
Drawing samples and models at once counts what neither of the two explains more than once, so that intervals
are rather too wide than too narrow (Owen 2007).

The front is the best of many means, which chance sets too high: once in the estimate, and once more in the
replicates, which draw from it. Their percentiles (Efron 1979) would count that twice, and find one in four
models from the front itself below it (`benches/calibration.py`). So intervals are those percentiles
moved by how much the replicates' mean is off the estimate.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pdiff.common.progress import SILENT, Progress
from pdiff.common.rng import numpy_generator
from pdiff.evaluation.verdict.comparison import Comparison, Counts, Draw
from pdiff.evaluation.verdict.pareto_front import Values

LEVEL = 0.95
_ROUNDING = 1e-12
"""Differences of means below which nothing but rounding differs."""


@dataclass(frozen=True)
class Margins:
    """The margins of all replicates in both planes, and other differences of means."""

    max_similarity: Values
    """[replicates]."""
    gg: Values | None
    """[replicates]; None where GG is not defined."""
    concentration: Values | None
    """[replicates], GG − OO: how much more alike the generated models are than members; None as for GG."""
    over_originals: Values
    """[replicates], by how much the generated models' mean score is better than the originals'."""


def bootstrap(comparison: Comparison, *, replicates: int, seed: int, progress: Progress = SILENT) -> Margins:
    """Return the margins of `replicates` draws; replicate i depends on (seed, i) alone."""
    in_similarity, in_gg, above_oo, over_originals = np.full((4, replicates), np.nan)
    with progress.track("Bootstrapping", replicates, "draw") as tracker:
        for replicate in range(replicates):
            generator = numpy_generator(seed, "evaluate/bootstrap", replicate)
            estimates = comparison.estimates(_draw(comparison, generator))
            in_similarity[replicate] = estimates.in_max_similarity.margin
            over_originals[replicate] = estimates.over_originals
            if (plane := estimates.in_gg) is not None:
                in_gg[replicate] = plane.margin
            if (concentration := estimates.concentration) is not None:
                above_oo[replicate] = concentration
            tracker.advance()
    return Margins(in_similarity, _known(in_gg), _known(above_oo), over_originals)


def _known(values: Values) -> Values | None:
    """Return the values that are defined, None without any."""
    known = values[~np.isnan(values)]
    return known if len(known) else None


def interval(estimate: float, replicates: Values, level: float = LEVEL) -> tuple[float, float]:
    """Return the central interval of `level` of the replicates, moved so that their mean is the estimate.

    It holds the estimate, and ends that differ from 0 by rounding alone are 0.
    """
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    moved = estimate - replicates.mean()
    return unrounded(min(low + moved, estimate)), unrounded(max(high + moved, estimate))


def unrounded(difference: float) -> float:
    """Return a difference of means, 0 for what rounding leaves of none."""
    return 0.0 if abs(difference) < _ROUNDING else float(difference)


def _draw(comparison: Comparison, generator: np.random.Generator) -> Draw:
    """Draw samples, runs, and models of each group."""
    samples = torch.from_numpy(generator.integers(comparison.samples, size=comparison.samples))
    runs = _counts(generator, comparison.runs, comparison.runs)
    models = []
    for group, size in enumerate(comparison.sizes.tolist()):
        times = max(int(runs[group]), 1) if group < comparison.runs else 1
        models.append(_models(generator, size, times))
    return Draw(samples, models, runs)


def _models(generator: np.random.Generator, size: int, times: int) -> Counts:
    """Draw as many models of a family as there are, `times` over: [size].

    A draw of one model alone would have no GG and is repeated; it happens to very small families only.
    """
    counts = _counts(generator, size, times * size)
    while size > 1 and np.count_nonzero(counts) < 2:
        counts = _counts(generator, size, times * size)
    return counts


def _counts(generator: np.random.Generator, size: int, draws: int) -> Counts:
    """Return how often each of `size` things is drawn: [size]."""
    return np.bincount(generator.integers(size, size=draws), minlength=size)
