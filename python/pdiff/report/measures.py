"""The novelty measures in words: each beside what the originals have, with a line that explains it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdiff.report.text import number

__all__ = ["Measure", "measures"]


@dataclass(frozen=True)
class Measure:
    """One figure of the report."""

    name: str
    value: str
    reference: str
    """What the originals have, or what would be ideal."""
    meaning: str


def measures(results: Mapping[str, Any]) -> list[Measure]:
    """Return the novelty measures of `results.json` in the order of the page."""
    novelty = results["novelty"]
    similarity, distance = novelty["max_similarity"], novelty["l2_nearest"]
    return [
        Measure(
            "Max-similarity",
            number(similarity["mean"], 3),
            f"originals {number(novelty['original_max_similarity'], 3)}",
            "Overlap (IoU) of a model's wrong predictions with those of the most similar bank member: from "
            f"{number(similarity['min'], 3)} to {number(similarity['max'], 3)}, mean above. Lower is newer.",
        ),
        Measure(
            "Containment",
            number(novelty["containment"], 3),
            f"originals {number(novelty['original_containment'], 3)}",
            "Share of that member's errors that the model repeats. High beside a low max-similarity, it "
            "gives a damaged copy away.",
        ),
        Measure(
            "Similarity within (GG)",
            number(novelty["gg"], 3),
            f"originals (OO) {number(novelty['oo'], 3)}",
            "Mean overlap of the errors of two generated models. Above OO, they are more alike than the "
            "originals are.",
        ),
        Measure(
            "Nearest generated",
            number(novelty["gg_nearest"], 3),
            f"originals {number(novelty['original_max_similarity'], 3)}",
            "Overlap with the most similar other generated model, mean over models.",
        ),
        Measure(
            "Distinct models",
            f"{novelty['distinct']:,}",
            f"of {results['generated']['n']:,} generated",
            "As many can be picked, one after the other, that overlap pairwise by less than half.",
        ),
        Measure(
            "Similarity across (OG)",
            number(novelty["og"], 3),
            f"originals (OO) {number(novelty['oo'], 3)}",
            "Mean overlap between a generated model and an original, over all pairs.",
        ),
        Measure(
            "Dispersion",
            number(novelty["dispersion"], 2),
            "originals 1 by definition",
            "Spread of the weights around their mean over the bank's. Well under 1 is averaging.",
        ),
        Measure(
            "Distance to the bank",
            number(distance["mean"], 2),
            f"originals {number(novelty['l2_nearest_original']['mean'], 2)}",
            "L2 distance of the weights to the nearest member, in units of each tensor's standard deviation. "
            f"The closest model is at {number(distance['min'], 2)}; near 0 is a copy.",
        ),
    ]
