"""What is conspicuous about the generated models, each finding with the numbers that it rests on.

A finding is a hint, not a verdict: the thresholds stand below, in the open.
"""

from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["Kind", "findings"]

Kind = Literal["copies", "averages", "damaged", "concentrated", "control"]

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


def findings(results: Mapping[str, Any], more_errors: float) -> list[dict[str, str]]:
    """Return `[{kind, sentence}]` from the results so far.

    `more_errors` is how many times as many samples a generated model gets wrong as a bank member does.
    """
    found = {
        "copies": _copies(results["novelty"]),
        "averages": _averages(results["novelty"]),
        "damaged": _damaged(results["novelty"], more_errors),
        "concentrated": _concentrated(results),
        "control": _control(results),
    }
    return [{"kind": kind, "sentence": sentence} for kind, sentence in found.items() if sentence]


def _copies(novelty: Mapping[str, Any]) -> str | None:
    """Say if they are nearer to members than unseen ones are; without those, too near and too similar."""
    z, at_bank = novelty["z_u"]["value"], novelty["l2_nearest_original"]["mean"]
    distance, similarity = novelty["l2_nearest"]["mean"], novelty["max_similarity"]["mean"]
    if z is not None and z < COPYING_Z:
        return (
            "Copies: generated models lie nearer to the training members than held-out members do "
            f"(Z_U {z:.1f}, dispersion {_ratio(novelty)})."
        )
    if similarity >= novelty["original_max_similarity"] and distance < NEAR * at_bank:
        return (
            f"Copies: max-similarity {similarity:.3f} is no lower than the members' own "
            f"{novelty['original_max_similarity']:.3f}, at distance {distance:.3g} from the nearest member, "
            f"where members have {at_bank:.3g} (dispersion {_ratio(novelty)})."
        )
    return None


def _averages(novelty: Mapping[str, Any]) -> str | None:
    """Say if they are drawn together."""
    ratio = novelty["dispersion"]
    if ratio is None or ratio >= AVERAGING:
        return None
    return (
        f"Averages: the models spread {ratio:.2f} times as far around their mean as the bank does, and an "
        "average of members is a good model by itself."
    )


def _damaged(novelty: Mapping[str, Any], more_errors: float) -> str | None:
    """Say if they are members made worse: their own errors kept, others added."""
    contained, similarity = novelty["containment"], novelty["max_similarity"]["mean"]
    if contained < REPEATED or more_errors < MORE_ERRORS:
        return None
    return (
        f"Damaged members: max-similarity {similarity:.3f} is low because of {more_errors:.1f} times as many "
        f"errors, while {100 * contained:.0f} % of the nearest member's errors are kept (containment)."
    )


def _concentrated(results: Mapping[str, Any]) -> str | None:
    """Say if they are more alike than the members are, or alike somewhere else."""
    novelty, above = results["novelty"], results["verdict"]["concentration"]
    gg, oo, og = novelty["gg"], novelty["oo"], novelty["og"]
    if gg is None:
        return None
    if og < MOVED * gg:
        return (
            f"Concentrated: generated models are alike (GG {gg:.3f}; members OO {oo:.3f}), but not like "
            f"members (OG {og:.3f}): the cloud has moved away as a whole."
        )
    if above is None or above["interval"][0] < CONCENTRATION:
        return None
    low, high = above["interval"]
    return (
        f"Concentrated: generated models are more alike (GG {gg:.3f}) than members are (OO {oo:.3f}), by "
        f"{above['difference']:.3f} ({low:.3f} to {high:.3f})."
    )


def _control(results: Mapping[str, Any]) -> str | None:
    """Say which control does as well in both respects, without the bank."""
    sign = 1 if results["task"]["metric"]["higher_is_better"] else -1
    ours, similarity = results["generated"]["mean"], results["novelty"]["max_similarity"]["mean"]
    for control in results["controls"]:
        score = control["score"]["mean"]
        if sign * score >= sign * ours and control["max_similarity"] <= similarity:
            return (
                f"The control {control['name']} is as good and as new (score {score:.4g} at max-similarity "
                f"{control['max_similarity']:.3f}): the bank is not what it comes from."
            )
    return None


def _ratio(novelty: Mapping[str, Any]) -> str:
    """Return the dispersion ratio as text."""
    return "–" if novelty["dispersion"] is None else f"{novelty['dispersion']:.2f}"
