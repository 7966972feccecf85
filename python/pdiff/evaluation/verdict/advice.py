"""Advise a practitioner: which network to use, and the command that writes it.

An average counts as better where its mean score (of all members' average, or of averages of k random ones; by
means, so that no lucky one is picked) is above the mean checkpoint's by more than `CLEARLY` of the standard
deviation of the checkpoints' scores, and above the generated models' mean. The generated models are named
first where the verdict says "above", an average otherwise; without either, generated models where they are on
the Pareto front and no worse than the mean checkpoint, else the checkpoints.
"""

import shlex
from dataclasses import dataclass

from pdiff.common.wording import printable
from pdiff.evaluation.schema import Advice, MetricEntry, Results
from pdiff.generation.card import Judgement

CLEARLY = 0.5


@dataclass(frozen=True)
class _Average:
    """An average of members: of `members` random ones, or of all."""

    members: int | None
    score: float
    max_similarity: float

    def command(self, bank: str) -> str:
        """Return what writes it."""
        where = shlex.quote(printable(bank))
        if self.members is None:
            return f"pdiff average {where} --out average"
        return f"pdiff generate {where} --generator average --set members={self.members} --n 1 --out averaged"


def advice(results: Results) -> Advice:
    """Return what to do, and the command that does it."""
    metric, original, generated = results.task.metric, results.original.mean, results.generated.mean
    sign = 1 if metric.higher_is_better else -1
    best = max(_averages(results), key=lambda each: sign * each.score)
    clear = sign * (best.score - original) > CLEARLY * results.original.std
    averaging = clear and sign * (best.score - generated) > 0
    position = results.verdict.position
    good = position == "above" or (position == "on" and sign * (generated - original) >= 0)
    sentence = _sentence(results, best, averaging=averaging, good=good)
    return Advice(sentence=f"{sentence}.", command=best.command(results.bank.path) if averaging else "")


def _averages(results: Results) -> list[_Average]:
    """Return the average of all members, and those of k random ones."""
    everyone = _Average(None, results.ensemble.mean, results.ensemble.max_similarity)
    return [everyone] + [
        _Average(int(each.strength), each.score.mean, each.max_similarity)
        for each in results.baselines
        if each.family == "average" and each.strength
    ]


def _sentence(results: Results, best: _Average, *, averaging: bool, good: bool) -> str:
    """Say what to use."""
    metric, similarity = results.task.metric, results.novelty.max_similarity.mean
    ours = f"{_score(results.generated.mean, metric)} on average at max-similarity {similarity:.3f}"
    theirs = f"{_score(results.original.mean, metric)} on average"
    averaged = f"n average of {best.members or 'all'} of your checkpoints"
    better = "more accurate" if metric.name == "accuracy" else "better"
    better += f" ({_score(best.score, metric)})"
    if results.verdict.position == "above":
        also = f"; as a single network a{averaged} is {better}" if averaging else ""
        return (
            f"The generated models are good to use: {ours}, above what averages, noise and Gaussians reach "
            f"from the same checkpoints{also}"
        )
    if averaging:
        as_new = ", and as different from the checkpoints as those are"
        return (
            f"A{averaged} is {better} than the checkpoints ({theirs}) and the generated models ({ours})"
            f"{as_new if best.max_similarity <= similarity else ''}"
        )
    if good:
        return (
            f"The generated models are good to use ({ours}; your checkpoints {theirs}), and averages, noise "
            "and Gaussians are as good"
        )
    return (
        f"Use your checkpoints ({theirs}): the generated models ({ours}) are no better than what averages, "
        "noise and Gaussians reach"
    )


def _score(value: float, metric: MetricEntry) -> str:
    """Return a score with its unit."""
    return f"{100 * value:.1f} %" if metric.percent else f"{metric.name} {value:.4g}"


def judgement(results: Results) -> Judgement:
    """Return what the card of generated checkpoints says of the results."""
    task, novelty, metric = results.task, results.novelty, results.task.metric
    return Judgement(
        sentence=results.verdict.sentence,
        task=task.name,
        split=task.split,
        samples=task.samples,
        metric=metric.name,
        percent=metric.percent,
        rows=[
            (f"mean {metric.name}", results.generated.mean, results.original.mean),
            ("max-similarity", novelty.max_similarity.mean, novelty.original_max_similarity),
            ("similarity within", novelty.gg, novelty.oo),
            ("dispersion", novelty.dispersion, 1.0),
        ],
        version=results.provenance["pdiff"],
        date=results.provenance["date"],
        runs=len(results.runs),
    )
