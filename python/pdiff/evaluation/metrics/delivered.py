"""Compare the score that models were asked for with the one that they have."""

from collections.abc import Sequence

import numpy as np

from pdiff.evaluation.metrics.novelty import Measured
from pdiff.evaluation.schema import Delivered
from pdiff.generation.models import Models

_FEWEST = 3
"""Models that a line is fitted to."""
_LEVEL = 0.95


def delivered(folders: Sequence[Models], measured: Sequence[Measured], metric: str) -> Delivered | None:
    """Return how the scores of generated models follow those that they were asked for, if they were.

    The slope is that of least squares over all models of all runs, its interval that of normal errors.
    """
    pairs = []
    for folder, run in zip(folders, measured, strict=True):
        if folder.generated is None or not (conditions := folder.generated.info.conditions):
            continue
        for index, score in zip(folder.generated.info.indices, run.scores.tolist(), strict=True):
            asked = conditions[index % len(conditions)].get(metric)
            if isinstance(asked, float):
                pairs.append((asked, score))
    if len(pairs) < _FEWEST:
        return None
    asked, scores = np.array(pairs).T
    slope = interval = None
    if asked.min() < asked.max():
        from scipy import stats  # noqa: PLC0415 (slow to import, and seldom needed)

        line = stats.linregress(asked, scores)
        slope, reach = float(line.slope), float(stats.t.ppf((1 + _LEVEL) / 2, len(pairs) - 2) * line.stderr)
        interval = slope - reach, slope + reach
    return Delivered(
        condition=metric,
        n=len(pairs),
        asked=(float(asked.min()), float(asked.max())),
        mean_asked=float(asked.mean()),
        mean=float(scores.mean()),
        slope=slope,
        interval=interval,
    )
