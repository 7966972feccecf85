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
    return [*_of_errors(results), *_of_weights(results["novelty"]), *_of_geometry(results["geometry"])]


def _of_errors(results: Mapping[str, Any]) -> list[Measure]:
    """Return the measures of how alike models err."""
    novelty = results["novelty"]
    similarity = novelty["max_similarity"]
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
            f"of {results['generated']['n']:,} generated; originals {novelty['distinct_original']:,} "
            f"of {results['original']['n']:,}",
            "As many can be picked, one after the other, that overlap pairwise by less than half.",
        ),
        Measure(
            "Similarity across (OG)",
            number(novelty["og"], 3),
            f"originals (OO) {number(novelty['oo'], 3)}",
            "Mean overlap between a generated model and an original, over all pairs.",
        ),
    ]


def _of_weights(novelty: Mapping[str, Any]) -> list[Measure]:
    """Return the measures of where models lie in the space of weights."""
    found = [
        Measure(
            "Dispersion",
            number(novelty["dispersion"], 2),
            "originals 1 by definition",
            "Spread of the weights around their mean over the bank's. Well under 1 is averaging.",
        ),
        _distance(
            "Distance to the bank",
            novelty["l2_nearest"],
            novelty["l2_nearest_original"],
            "L2 distance of the weights to the nearest member, in units of each tensor's standard deviation.",
        ),
        _distance(
            "Raw distance",
            novelty["l2_nearest_raw"],
            novelty["l2_nearest_raw_original"],
            "The same in raw units.",
        ),
    ]
    if novelty["l2_nearest_aligned"] is not None:
        found.append(
            _distance(
                "Aligned distance",
                novelty["l2_nearest_aligned"],
                novelty["l2_nearest_original"],
                "The same after hidden units are brought into the member's order.",
            )
        )
    return [*found, _copying(novelty["z_u"])]


def _distance(name: str, ours: Mapping[str, Any], originals: Mapping[str, Any], meaning: str) -> Measure:
    return Measure(
        name,
        f"{ours['mean']:.3g}",
        f"originals {originals['mean']:.3g}",
        f"{meaning} The closest model is at {ours['min']:.3g}; near 0 is a copy.",
    )


def _copying(z_u: Mapping[str, Any]) -> Measure:
    """Return the test of copying, or why it was not made."""
    if z_u["value"] is None:
        return Measure("Copying (Z_U)", "–", "", f"Not measured: {z_u['reason']}.")
    return Measure(
        "Copying (Z_U)",
        f"{z_u['value']:+.2f}",
        f"{z_u['generated']:,} generated against {z_u['held_out']:,} held out",
        "Whether generated models lie closer to the members that were learned from than members that were "
        "held out do (Mann-Whitney z). Far below 0 is copying; above 0 says nothing about a bank of one "
        "trajectory, whose held-out members lie between their neighbours in time, nearer than any draw does.",
    )


def _of_geometry(geometry: Mapping[str, Any]) -> list[Measure]:
    """Return where models lie among the members."""
    hull, segments = geometry["affine_hull"], geometry["segments"]
    found = []
    if hull is not None:
        held_out = "" if hull["held_out"] is None else f"held-out members {number(hull['held_out'], 3)}"
        found.append(
            Measure(
                "Off the hull",
                number(hull["generated"], 3),
                held_out,
                "Distance to the affine hull of the members over the distance to their mean. 0 is a "
                "combination of members, as averages and principal components are.",
            )
        )
    found.append(
        Measure(
            "Segments",
            number(segments["generated"], 3),
            f"originals {number(segments['original'], 3)}",
            "Distance to the nearest segment between two members over that to the nearest member. "
            "0 is interpolation of two, 1 where no segment comes nearer.",
        )
    )
    return found
