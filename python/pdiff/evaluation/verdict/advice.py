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
from pdiff.evaluation.schema import Advice, Results
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
    scale, original, generated = results.task.metric, results.original.score, results.generated.score.mean
    sign = 1 if scale.higher_is_better else -1
    best = max(_averages(results), key=lambda each: sign * each.score)
    clear = sign * (best.score - original.mean) > CLEARLY * original.std
    averaging = clear and scale.better(best.score, generated)
    position = results.verdict.position
    good = position == "above" or (position == "on" and not scale.better(original.mean, generated))
    sentence = _sentence(results, best, averaging=averaging, good=good)
    return Advice(sentence=f"{sentence}.", command=best.command(results.bank.path) if averaging else "")


def _averages(results: Results) -> list[_Average]:
    """Return the average of all members, and those of k random ones."""
    random = [each for each in results.baselines if each.family == "average"]
    return [
        _Average(None if each.strength is None else int(each.strength), each.score.mean, each.max_similarity)
        for each in (results.ensemble, *random)
    ]


def _sentence(results: Results, best: _Average, *, averaging: bool, good: bool) -> str:
    """Say what to use."""
    scale, similarity = results.task.metric, results.generated.max_similarity
    ours = f"{scale.text(results.generated.score.mean)} on average at max-similarity {similarity:.3f}"
    theirs = f"{scale.text(results.original.score.mean)} on average"
    averaged = f"n average of {best.members or 'all'} of your checkpoints"
    better = "more accurate" if scale.name == "accuracy" else "better"
    better += f" ({scale.text(best.score)})"
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


def judgement(results: Results) -> Judgement:
    """Return what the card of generated checkpoints says of the results."""
    task, metric, ours, theirs = results.task, results.task.metric, results.generated, results.original
    return Judgement(
        sentence=results.verdict.sentence,
        task=task.name,
        split=task.split,
        samples=task.samples,
        metric=metric.name,
        percent=metric.percent,
        rows=[
            (f"mean {metric.name}", ours.score.mean, theirs.score.mean),
            ("max-similarity", ours.max_similarity, theirs.max_similarity),
            ("similarity within", ours.gg, theirs.gg),
            ("dispersion", ours.dispersion, theirs.dispersion),
        ],
        version=results.provenance["pdiff"],
        date=results.provenance["date"],
        runs=len(results.runs),
    )
