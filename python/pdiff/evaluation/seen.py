"""What a method and its rivals have seen beside the bank, which decides who is compared with whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdiff.common.errors import UsageError
from pdiff.evaluation.families import League
from pdiff.generation import Generated

__all__ = ["REESTIMATED", "Seen", "seen_by"]

REESTIMATED = 4000
"""Training inputs that give new BatchNorm statistics in the league of inputs."""


@dataclass(frozen=True)
class Seen:
    """A league, and how much of what it allows is used."""

    league: League
    gradients: int
    """Minibatches of training data whose gradient may be taken."""
    inputs: int
    """Training inputs that every model's BatchNorm statistics are estimated on; 0 leaves them alone."""

    def entry(self, reestimated: bool) -> dict[str, Any]:
        """Return the part `league` of the results; `reestimated` if there was anything to estimate.

        Where there was not, the league of inputs is the one of weights only.
        """
        return {
            "name": "weights" if self.league == "inputs" and not reestimated else self.league,
            "asked": self.league,
            "gradient_evaluations": self.gradients,
            "reestimated": reestimated,
        }


def seen_by(runs: Sequence[Generated], league: League | None, gradients: int, inputs: int) -> Seen:
    """Return what was asked for; by default, what the generators did.

    Raises `UsageError` for more than the league allows, and for a league that allows less than the
    generators say they took.
    """
    own = max(run.info.cost.gradient_evaluations for run in runs)
    if league is None:
        league = "gradients" if own or gradients else "inputs" if inputs else "weights"
    if gradients and league != "gradients":
        raise UsageError(f"--gradients {gradients}: only with --league gradients, not {league}")
    if inputs and league == "weights":
        raise UsageError(f"--reestimate {inputs}: only with --league inputs or gradients")
    if league == "gradients" and not (gradients or own):
        raise UsageError("--league gradients: say how many gradients rivals may take (--gradients G)")
    if own and league != "gradients":
        raise UsageError(f"--league {league}: the generator took {own:,} gradients; its league is gradients")
    if gradients and gradients < own:
        raise UsageError(f"--gradients {gradients}: the generator took {own:,}, rivals get at least as many")
    if league == "inputs":
        inputs = inputs or REESTIMATED
    return Seen(league, gradients or own if league == "gradients" else 0, inputs)
