"""Read the losses of a run, a point for several steps, and warn of losses that rise or still fall."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import msgspec

from pdiff.evaluation.figure_data.weight_space import rounded
from pdiff.evaluation.schema import Curve, TrainingData
from pdiff.training import Run
from pdiff.training.metrics import METRICS

_POINTS = 120
_TENTH = 10
_FALLING = 0.1
_RISING = 1.5
_KEPT = 0.9


class _Line(msgspec.Struct):
    """One step of a stage's metrics."""

    step: int
    loss: float


def training_curves(run: Run) -> TrainingData | str:
    """Return each stage's loss, mean over runs of steps, or why there is none.

    A stage without training (a codec in closed form) has no curve.
    """
    stages = {}
    for path in sorted(run.path.glob(f"*{METRICS}")):
        if lines := _read(path):
            stages[path.name.removesuffix(METRICS)] = _curve(lines)
    if not stages:
        return "the run's metrics are gone or cannot be read"
    explained = run.result.facts.get("variance_explained")
    return TrainingData(stages=stages, variance_kept=None if explained is None else rounded(explained))


def _read(path: Path) -> list[_Line]:
    """Read a stage's metrics; nothing if they cannot be read, since no figure depends on them."""
    try:
        return msgspec.json.Decoder(_Line).decode_lines(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []


def _curve(lines: Sequence[_Line]) -> Curve:
    """Return at most `_POINTS` points: the mean of each run of steps, and the last step of it."""
    ends = [len(lines) * (point + 1) // min(_POINTS, len(lines)) for point in range(min(_POINTS, len(lines)))]
    runs = [lines[begin:end] for begin, end in pairwise([0, *ends])]
    return Curve(
        step=[part[-1].step for part in runs],
        loss=[rounded(fmean(line.loss for line in part)) for part in runs],
    )


def training_warnings(training: TrainingData | None) -> list[str]:
    """Return what the curves and the codec's fit give reason to say, a sentence each."""
    if training is None:
        return []
    found = [text for name, curve in training.stages.items() for text in _of_loss(name, curve.loss)]
    if training.variance_kept is not None and training.variance_kept < _KEPT:
        found.append(
            f"The codec keeps {training.variance_kept:.1%} of the variance between the checkpoints: "
            "generated models cannot differ as the originals do."
        )
    return found


def _of_loss(name: str, loss: Sequence[float]) -> list[str]:
    """Say whether a loss rose away from its lowest or still fell at the end, by means over tenths."""
    tenth = len(loss) // _TENTH
    if tenth == 0:
        return []
    means = [fmean(loss[begin : begin + tenth]) for begin in range(0, tenth * _TENTH, tenth)]
    if means[-1] > _RISING * min(means):
        return [f"The {name}'s loss ends at {means[-1] / min(means):.1f} times its lowest: it diverges."]
    if means[-1] < (1 - _FALLING) * means[-2]:
        return [f"The {name}'s loss was still falling when training ended: more steps may help."]
    return []
