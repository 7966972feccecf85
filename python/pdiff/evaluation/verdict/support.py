"""Say whether a bank, and the samples and models of an evaluation, can support a verdict."""

from msgspec.structs import replace

from pdiff.bank.safety import FEWEST
from pdiff.common.wording import counted
from pdiff.evaluation.schema import Difference, Fronts, Results, Scale
from pdiff.evaluation.verdict.diagnostics import ALIKE

COARSE = 0.5
"""Share of the checkpoints' mean error beyond which half an interval is too wide to say anything."""

_BANK = "This bank supports no verdict"


def supported(results: Results) -> Results:
    """Return results without position, planes and fronts, where the bank supports no verdict."""
    if not unsupporting(results):
        return results
    verdict = replace(results.verdict, position=None, sentence="", at_max_similarity=None, at_gg=None)
    return replace(results, verdict=verdict, fronts=Fronts(max_similarity=[], gg=[]))


def unsupporting(results: Results) -> str:
    """Say why the bank supports no verdict; an empty string where it does."""
    ours, scale = results.original, results.task.metric
    if ours.gg is not None and ours.gg >= ALIKE:
        why = (
            f"its checkpoints are all alike: {scale.text(ours.score.mean)} with a standard deviation of "
            f"{scale.bare(ours.score.std, 2)}, and each makes the others' errors (overlap {ours.gg:.3f})"
        )
        return f"{_BANK}: {why}."
    if has_few_members(results):
        why = f"it has {counted(results.bank.members, 'checkpoint')}, and {FEWEST} or more are wanted"
        return f"{_BANK}: {why}."
    return ""


def has_few_members(results: Results) -> bool:
    """Return whether the bank has too few checkpoints for a verdict."""
    return results.bank.members < FEWEST


def uncertain(results: Results) -> str:
    """Say if samples and models are too few for a verdict; an empty string where they are not."""
    scale = results.task.metric
    low, high = results.verdict.over_originals.interval
    error = _error(results)
    if error is not None and high - low > 2 * COARSE * error:
        return (
            f"{results.task.samples:,} {results.task.split} samples and "
            f"{counted(results.generated.n, 'generated model')} support no verdict: the difference from your "
            f"checkpoints is only known to {within(results.verdict.over_originals, scale)}."
        )
    return ""


def _error(results: Results) -> float | None:
    """Return how far the mean original is from a perfect score; None where nothing says what that is."""
    scale, score = results.task.metric, results.original.score.mean
    if scale.percent and scale.higher_is_better:
        return 1 - score
    return None if scale.higher_is_better else score


def within(found: Difference, scale: Scale) -> str:
    """Write a difference with its interval."""
    low, high = map(scale.difference, found.interval)
    return f"{scale.difference(found.difference)} {scale.points}, {low} to {high}"
