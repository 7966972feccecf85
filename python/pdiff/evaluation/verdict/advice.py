"""Answer what a practitioner asks of an evaluation, in plain sentences.

Are the generated models as good as the checkpoints? Are they new? Does something simpler do better? What is
to be done next, by which command? And before all that (`support.py`): can bank and samples support an answer?

The thresholds stand below; the answers rest on the results' own figures and on the verdict's findings.
"""

import shlex
from dataclasses import dataclass

from pdiff.common.wording import printable
from pdiff.evaluation.schema import (
    Advice,
    Kind,
    PlaneEntry,
    Quality,
    Results,
    Scale,
    Selected,
)
from pdiff.evaluation.verdict.support import has_few_members, uncertain, unsupporting, within
from pdiff.generation.card import Judgement

CLEARLY = 0.5
"""Standard deviations of the checkpoints' scores by which an average has to be better to be advised."""
RUINED_ERRORS, RUINED_RIGHT, RUINED_SPREADS = 3.0, 0.5, 3.0
"""Ruined models make so many times as many errors, or so small a share of what is right is left, and their
mean score is so many standard deviations of the checkpoints' scores below."""
AS_NEW = 0.01
"""By how much the overlap with the nearest checkpoint may be above that of checkpoints themselves."""

_NOT_NEW: dict[Kind, str] = {
    "copies": "but copies of them",
    "damaged": "and repeat their errors",
    "averages": "but little more than averages of them",
}
_NEW: dict[Kind, str] = {
    "concentrated": "and new, but more alike than those are",
    "another": "and new, like those of another training run",
}
"""What findings say of novelty, in a clause."""


def advice(results: Results, more_errors: float) -> Advice:
    """Return the answers.

    `more_errors` is how many times as many errors a generated model makes as an original. An average of
    checkpoints is advised where its mean score (of all members' average, or of averages of k random ones, so
    that no lucky one is picked) is clearly above the mean checkpoint's, and above the generated models'.
    """
    if why := unsupporting(results):
        how = (
            "." if has_few_members(results) else " that differ: save them further apart, or at a higher rate."
        )
        return Advice(unsupported=why, next=f"Collect more checkpoints{how}")
    unsupported = uncertain(results)
    quality = _quality(results, more_errors)
    novelty = _novelty(results)
    simpler, averaging = _simpler(results, quality)
    done, command = _next(results, quality, novelty, averaging, unsupported)
    return Advice(
        quality=quality,
        unsupported=unsupported,
        headline=_headline(results, quality, novelty),
        novelty=novelty.sentence,
        simpler=simpler,
        next=done,
        command=command,
    )


def _quality(results: Results, more_errors: float) -> Quality:
    """Return how good the generated models are beside the originals."""
    found, original = results.verdict.over_originals, results.original.score
    low, high = found.interval
    if low <= 0 <= high:
        return "as good"
    if low > 0:
        return "better"
    scale, ours = results.task.metric, results.generated.score.mean
    left = ours / original.mean if scale.percent and scale.higher_is_better and original.mean else 1.0
    ruined = more_errors >= RUINED_ERRORS or left <= RUINED_RIGHT
    return "ruined" if ruined and -found.difference > RUINED_SPREADS * original.std else "worse"


@dataclass(frozen=True)
class _Novelty:
    """Whether the generated models are new, in a clause, and the figures behind it in a sentence."""

    new: bool
    clause: str
    sentence: str


def _headline(results: Results, quality: Quality, novelty: _Novelty) -> str:
    """Say whether the generated models are as good as the originals, and whether they are new."""
    scale = results.task.metric
    accurate = scale.name == "accuracy"
    compared = {
        "better": "more accurate than" if accurate else "better than",
        "as good": "as accurate as" if accurate else "as good as",
        "worse": "less accurate than" if accurate else "worse than",
    }
    ours, theirs = scale.text(results.generated.score.mean), scale.text(results.original.score.mean)
    difference = within(results.verdict.over_originals, scale)
    if quality == "ruined":
        return (
            f"The generated models are ruined: {ours} on average, your checkpoints {theirs} ({difference})."
        )
    return (
        f"The generated models are {compared[quality]} your checkpoints ({ours} and {theirs} on average; "
        f"{difference}), {novelty.clause}."
    )


def _novelty(results: Results) -> _Novelty:
    """Say whether the generated models are new, by the first finding that is about that."""
    ours, theirs = results.generated, results.original
    found = {finding.kind: finding.sentence for finding in results.verdict.findings}
    for kind, clause in _NOT_NEW.items():
        if kind in found:
            return _Novelty(False, clause, found[kind])
    sentence = (
        f"Their errors overlap with those of the nearest checkpoint by {ours.max_similarity:.3f} (1: the "
        f"same errors); a checkpoint's own do so by {theirs.max_similarity:.3f}."
    )
    if ours.max_similarity > theirs.max_similarity + AS_NEW:
        return _Novelty(False, "but closer to them than they are to each other", sentence)
    for kind, clause in _NEW.items():
        if kind in found:
            return _Novelty(True, clause, found[kind])
    closer = ours.max_similarity > theirs.max_similarity
    return _Novelty(True, "and as new as those are to each other" if closer else "and new", sentence)


@dataclass(frozen=True)
class _Average:
    """An average of members: of `members` random ones, or of all."""

    members: int | None
    score: float

    @property
    def name(self) -> str:
        return f"an average of {self.members or 'all'} of your checkpoints"

    def command(self, results: Results) -> str:
        """Return what writes the network that was scored, BatchNorm statistics and all."""
        where = shlex.quote(printable(results.bank.path))
        if self.members is None:
            as_scored = "" if results.data_access.reestimated else " --reestimate 0"
            return f"pdiff average {where}{as_scored} --out average"
        return f"pdiff generate {where} --generator average --set members={self.members} --n 1 --out averaged"


def _simpler(results: Results, quality: Quality) -> tuple[str, _Average | None]:
    """Say whether something simpler does better, and return the average that is to be used, if one is."""
    scale, verdict, generated = results.task.metric, results.verdict, results.generated.score.mean
    best, clear = _best_average(results)
    averaging = best if clear and scale.better(best.score, generated) else None
    if quality == "ruined":
        use = averaging.name if averaging else "any of your checkpoints"
        score = scale.text(averaging.score if averaging else results.original.score.mean)
        return f"Something simpler does better: {use} ({score}).", averaging
    similarity, gg = verdict.at_max_similarity, verdict.at_gg
    assert similarity is not None, "a bank that supports no verdict asks for no such advice"
    sentence = _beside(similarity, scale, "at this overlap with the nearest checkpoint or less")
    if gg is not None and gg.margin < similarity.margin:
        sentence = _beside(gg, scale, "at this overlap with one another or less")
    if averaging is not None:
        also = averaging.name[0].upper() + averaging.name[1:]
        sentence += f" {also} is better than the mean checkpoint ({scale.text(averaging.score)})."
    return sentence, averaging


def _beside(found: PlaneEntry, scale: Scale, alike: str) -> str:
    """Say whether what reaches the Pareto front is better, where the models are as new."""
    low, high = sorted(map(abs, found.interval))
    margin = scale.difference(abs(found.margin)).lstrip("+−")
    ends = f"{scale.difference(low).lstrip('+')} to {scale.difference(high).lstrip('+')}"
    if found.position == "below":
        return (
            f"Something simpler does better: {found.reached_by}, {alike}, is better by {margin} "
            f"{scale.points} ({ends})."
        )
    if found.position == "above":
        return (
            f"Nothing simpler does as well: {found.reached_by}, {alike}, is worse by {margin} "
            f"{scale.points} ({ends})."
        )
    low, high = found.interval
    between = f"{scale.difference(low)} to {scale.difference(high)}"
    return (
        f"Something simpler does as well: {found.reached_by}, {alike} (difference "
        f"{scale.difference(found.margin)} {scale.points}, {between})."
    )


def _best_average(results: Results) -> tuple[_Average, bool]:
    """Return the best average, and whether it is clearly better than the mean checkpoint."""
    scale, original = results.task.metric, results.original.score
    sign = 1 if scale.higher_is_better else -1
    random = [each for each in results.baselines if each.family == "average"]
    averages = [
        _Average(None if each.strength is None else int(each.strength), each.score.mean)
        for each in (results.ensemble, *random)
    ]
    best = max(averages, key=lambda each: sign * each.score)
    return best, sign * (best.score - original.mean) > CLEARLY * original.std


def _next(
    results: Results, quality: Quality, novelty: _Novelty, averaging: _Average | None, unsupported: str
) -> tuple[str, str]:
    """Say what to do, and return the command that does it, or an empty string."""
    scale, bank = results.task.metric, results.bank
    if unsupported:
        return "Evaluate more generated models, on more samples where there are some.", ""
    if averaging is not None:
        return f"Use {averaging.name} ({scale.text(averaging.score)}):", averaging.command(results)
    kept = f"Use your checkpoints{_named(results.original.best, scale)}."
    if quality == "ruined" and {run.preset for run in results.runs} - {"", "default"}:
        command = f"pdiff train {shlex.quote(printable(bank.path))} --preset default --out run-default"
        return f"{kept} To generate more, train another generator:", command
    good = results.verdict.position == "above" or quality in {"as good", "better"}
    if good and novelty.new:
        return f"Use the generated models{_named(_best_single(results), scale)}.", ""
    return kept, ""


def _best_single(results: Results) -> Selected | None:
    """Return the network that is best on validation, a generated one where originals are no better."""
    ours, theirs = results.generated.best, results.original.best
    if ours is None or theirs is None:
        return ours
    return theirs if results.task.metric.better(theirs.validation, ours.validation) else ours


def _named(best: Selected | None, scale: Scale) -> str:
    """Name the model that is best on validation, where one was chosen."""
    if best is None:
        return ""
    return f"; the best on validation is {printable(best.file)} ({scale.text(best.test)} on the samples here)"


def judgement(results: Results) -> Judgement:
    """Return what the card of generated checkpoints says of the results."""
    task, metric, ours, theirs = results.task, results.task.metric, results.generated, results.original
    said = results.verdict.advice
    return Judgement(
        sentence=" ".join(filter(None, (said.unsupported, said.headline, said.novelty, said.simpler))),
        task=task.name,
        arch=task.arch,
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
