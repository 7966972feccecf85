"""Find what is conspicuous about the generated models, and what a reader of the intervals should know.

A finding is a hint, not a verdict; it names the numbers that it rests on, and the thresholds stand below.
"""

from collections.abc import Sequence

from pdiff.common.wording import counted
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.schema import Finding, Kind, Novelty, Results
from pdiff.evaluation.verdict.verdict import FEW
from pdiff.generation.models import Models
from pdiff.tasks.base import Split

ALIKE = 0.999
"""Mean similarity of two checkpoints above which all make the same errors."""
COPYING_Z = -3.0
"""Z_U below which generated models lie nearer to the training members than chance lets unseen ones lie."""
NEAR = 0.5
"""Share of the members' own distance to the nearest other member, below which a model counts as a copy."""
AVERAGING = 0.7
"""Dispersion ratio below which models are drawn together toward the bank's mean."""
REPEATED, MORE_ERRORS = 0.6, 1.3
"""Damage: at least this share of a member's errors repeated, at least so many times as many made."""
CONCENTRATION = 0.01
"""By how much GG is above OO in a concentrated cloud, at the lower end of the interval."""
MOVED = 0.7
"""Share of GG below which OG says that the models are alike, but not like members."""

UNRELATED = 0.5
"""Cosine with the bank's mean below which weights are those of another network."""

ENOUGH_RUNS = 5
"""Training runs whose spread is known well enough for an interval."""
ENOUGH = 20
"""Models of a baseline whose mean is steady enough for a Pareto front."""


def findings(results: Results, more_errors: float) -> list[Finding]:
    """Return the findings, from all other results.

    `more_errors` is how many times as many samples a generated model gets wrong as a bank member does.
    """
    found: list[tuple[Kind, str | None]] = [
        ("copies", _copies(results)),
        ("averages", _averages(results)),
        ("damaged", _damaged(results, more_errors)),
        ("concentrated", _concentrated(results)),
        ("another", _another(results.novelty)),
        ("control", _control(results)),
        ("delivered", _delivered(results)),
    ]
    return [Finding(kind=kind, sentence=sentence) for kind, sentence in found if sentence]


def more_errors(original: Predictions, runs: Sequence[Predictions]) -> float:
    """Return how many times as many errors a generated model makes as a member."""
    wrong = sum(float(run.wrong.double().sum()) for run in runs) / sum(len(run.wrong) for run in runs)
    return wrong / max(float(original.wrong.double().sum()) / len(original.wrong), 1e-12)


def _copies(results: Results) -> str | None:
    """Say if they are nearer to members than unseen ones are; without those, too near and too similar."""
    ours, theirs, novelty = results.generated, results.original.max_similarity, results.novelty
    z, at_bank, distance = novelty.z_u.value, novelty.l2_nearest_original.mean, novelty.l2_nearest.mean
    dispersion = "–" if ours.dispersion is None else f"{ours.dispersion:.2f}"
    if results.original.gg is not None and results.original.gg >= ALIKE:
        return None  # whatever errs as they do is as similar
    if z is not None and z < COPYING_Z:
        return (
            "Copies: generated models lie nearer to the training members than held-out members do "
            f"(Z_U {z:.1f}, dispersion {dispersion})."
        )
    if ours.max_similarity >= theirs and distance < NEAR * at_bank:
        return (
            f"Copies: max-similarity {ours.max_similarity:.3f} is no lower than the members' own "
            f"{theirs:.3f}, at distance {distance:.3g} from the nearest member, where members have "
            f"{at_bank:.3g} (dispersion {dispersion})."
        )
    return None


def _averages(results: Results) -> str | None:
    """Say if they are drawn together, and if it was asked for."""
    dispersion = results.generated.dispersion
    if dispersion is None or dispersion >= AVERAGING:
        return None
    cold = min((run.temperature for run in results.runs if run.temperature is not None), default=1.0)
    cause = f" The temperature {cold:g}, below 1, draws them together." if cold < 1 else ""
    return (
        f"Averages: the models spread {dispersion:.2f} times as far around their mean as the bank does, and "
        f"an average of members is a good model by itself.{cause}"
    )


def _damaged(results: Results, more_errors: float) -> str | None:
    """Say if they are members made worse: their own errors repeated, others added."""
    ours = results.generated
    if ours.containment < REPEATED or more_errors < MORE_ERRORS or results.novelty.cosine < UNRELATED:
        return None
    return (
        f"Damaged members: max-similarity {ours.max_similarity:.3f} is low because of {more_errors:.1f} "
        f"times as many errors, while {100 * ours.containment:.0f} % of the nearest member's errors are "
        "repeated (containment)."
    )


def _concentrated(results: Results) -> str | None:
    """Say if they are more alike than the members are, or alike somewhere else."""
    gg, oo, og = results.generated.gg, results.original.gg, results.novelty.og
    above = results.verdict.concentration
    if gg is None:
        return None
    if og < MOVED * gg:
        return (
            f"Concentrated: generated models are alike (GG {gg:.3f}; members OO {oo:.3f}), but not like "
            f"members (OG {og:.3f}): the cloud has moved away as a whole."
        )
    if above is None or above.interval[0] < CONCENTRATION:
        return None
    low, high = above.interval
    return (
        f"Concentrated: generated models are more alike (GG {gg:.3f}) than members are (OO {oo:.3f}), by "
        f"{above.difference:.3f} ({low:.3f} to {high:.3f})."
    )


def _another(novelty: Novelty) -> str | None:
    """Say if they were trained from another initialisation, or have their neurons in another order."""
    if novelty.cosine >= UNRELATED:
        return None
    return (
        "Another network: the weight matrices have little in common with the bank's (cosine "
        f"{novelty.cosine:.2f}), as those of an independent training run."
    )


def _control(results: Results) -> str | None:
    """Say which control does as well in both respects, without the bank."""
    ours, scale = results.generated, results.task.metric
    for control in results.controls:
        found, similarity = control.score.mean, control.max_similarity
        if similarity <= ours.max_similarity and not scale.better(ours.score.mean, found):
            return (
                f"The control {control.family} is as good and as new (score {found:.4g} at max-similarity "
                f"{similarity:.3f}): the bank is not what it comes from."
            )
    return None


def _delivered(results: Results) -> str | None:
    """Say how what models were asked for compares with what they have."""
    found, scale = results.delivered, results.task.metric
    if found is None:
        return None
    low, high = (scale.text(score) for score in found.asked)
    asked = low if low == high else f"{low} to {high}"
    said = f"Asked for {found.condition} {asked}, models have {scale.text(found.mean)} on average"
    if found.slope is None or found.interval is None:
        return f"{said}."
    return (
        f"{said}; it follows what was asked for with slope {found.slope:.2f} ({found.interval[0]:.2f} to "
        f"{found.interval[1]:.2f}), where 1 is full control."
    )


def warnings(runs: Sequence[Models], split: Split, baselines_n: int, *, hybrids: bool) -> list[str]:
    """Return what a reader of the scores and intervals should know, in sentences.

    `hybrids` says whether what is not in the rows is of a base that was given to `collect`.
    """
    found = []
    if hybrids:
        found.append(
            "The originals are rows of the bank in the network of --base: where the files differed from it "
            "in other tensors they are hybrids, whose scores are not those of the files."
        )
    if len({run.run for run in runs}) == 1:
        found.append(
            "One training run: the intervals are over test samples and models, not over trainings of the "
            "generator. Give several folders for that."
        )
    elif len(runs) < ENOUGH_RUNS:
        found.append(
            f"{len(runs)} training runs: an interval over so few is too narrow, of two runs most of all."
        )
    if (fewest := min(run.size for run in runs)) < FEW:
        found.append(
            f"Only {counted(fewest, 'generated model')}: intervals over so few are too narrow, and findings "
            f"are no more than hints. Generate {FEW} or more, better 50."
        )
    if baselines_n < ENOUGH:
        found.append(
            f"Only {baselines_n} models of each baseline: the Pareto front, a maximum over means, is then "
            "set too high, and what is on it can look below it."
        )
    if split != "test":
        found.append(f"Scores are of the {split} split: scores on a split used for tuning are optimistic.")
    return found
