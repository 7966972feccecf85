"""Whether new BatchNorm statistics do harm: of too few inputs they make everybody worse, and all alike."""

from pdiff.common.progress import Progress
from pdiff.common.wording import counted
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import Judged, judge
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.thinning import spread_over
from pdiff.tasks.base import Task, described

__all__ = ["harm"]

LOOKED_AT = 8
"""Originals that are judged as they are, too."""
MUCH = 0.05
"""Share of the score as they are, in whatever unit, beyond which re-estimation does harm."""


def harm(original: Judged, plain: Predictor, task: Task, inputs: int, progress: Progress) -> str | None:
    """Say if the originals, judged with statistics of so many `inputs`, are much better as they are.

    `plain` judges a few of them, evenly spaced, as they are.
    """
    chosen = spread_over(original.population.size, LOOKED_AT)
    few = Population(
        "original",
        None,
        len(chosen),
        lambda some: original.population.rows([chosen[index] for index in some]),
    )
    with progress.track("Judging originals as they are", few.size, "model") as tracker:
        before = float(judge(few, plain, tracker).scores().mean())
    after = float(original.scores()[chosen].mean())
    loss = before - after if plain.metric is None or plain.metric.higher_is_better else after - before
    if loss <= MUCH * abs(before):
        return None
    used = counted(min(inputs, len(task.data("train")[1])), "training input")
    return (
        f"Re-estimation does harm: with BatchNorm statistics of {used} the mean of {few.size} originals goes "
        f"from {described(task, before)} to {described(task, after)}. All models are judged with such "
        "statistics; give more inputs (--reestimate N), or leave re-estimation out."
    )
