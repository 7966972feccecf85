"""Explain the novelty measures: each beside what the originals have, with a line that says what it is."""

from string import Formatter
from typing import Any, NamedTuple

from pdiff.evaluation.schema import Results


class Measure(NamedTuple):
    """One figure of the report."""

    name: str
    value: str
    reference: str
    """What the originals have, or what would be ideal."""
    meaning: str


_CLOSEST = " The closest model is at {0.min:.3g}; near 0 is a copy."
_ERRORS = (
    (
        *("Max-similarity", "{0.max_similarity.mean:.3f}", "originals {0.original_max_similarity:.3f}"),
        "Overlap (IoU) of a model's wrong predictions with those of the most similar bank member: from "
        "{0.max_similarity.min:.3f} to {0.max_similarity.max:.3f}, mean above. Lower is newer.",
    ),
    (
        *("Containment", "{0.containment:.3f}", "originals {0.original_containment:.3f}"),
        "Share of that member's errors that the model repeats. High beside a low max-similarity, it gives a "
        "damaged copy away.",
    ),
    (
        *("Similarity within (GG)", "{0.gg:.3f}", "originals (OO) {0.oo:.3f}"),
        "Mean overlap of the errors of two generated models. Above OO, they are more alike than the "
        "originals are.",
    ),
    (
        *("Nearest generated", "{0.gg_nearest:.3f}", "originals {0.original_max_similarity:.3f}"),
        "Overlap with the most similar other generated model, mean over models.",
    ),
    (
        *("Distinct models", "{0.distinct:,}"),
        "of {1.generated.n:,} generated; originals {0.distinct_original:,} of {1.original.n:,}",
        "As many can be picked, one after the other, that overlap pairwise by less than half.",
    ),
    (
        *("Similarity across (OG)", "{0.og:.3f}", "originals (OO) {0.oo:.3f}"),
        "Mean overlap between a generated model and an original, over all pairs.",
    ),
    (
        *("Dispersion", "{0.dispersion:.2f}", "originals 1 by definition"),
        "Spread of the weights around their mean over the bank's. Well under 1 is averaging.",
    ),
)
"""Name, value, reference and meaning; 0 is the novelty, 1 the results."""
_DISTANCES = (
    (
        *("Distance to the bank", "l2_nearest", "l2_nearest_original"),
        "L2 distance of the weights to the nearest member, in units of each tensor's standard deviation.",
    ),
    ("Raw distance", "l2_nearest_raw", "l2_nearest_raw_original", "The same in raw units."),
    (
        *("Aligned distance", "l2_nearest_aligned", "l2_nearest_original"),
        "The same after hidden units are brought into the member's order.",
    ),
)
"""Name, the generated models', the originals', meaning."""
_COPYING = (
    *("Copying (Z_U)", "{0.value:+.2f}", "{0.generated:,} generated against {0.held_out:,} held out"),
    "Whether generated models lie closer to the members that were learned from than members that were held "
    "out do (Mann-Whitney z). Far below 0 is copying; above 0 says nothing about a bank of one trajectory, "
    "whose held-out members lie between their neighbours in time, nearer than any draw does.",
)
_NO_COPYING = ("Copying (Z_U)", "–", "", "Not measured: {0.reason}.")
_HULL = (
    *("Off the hull", "{0.generated:.3f}", "held-out members {0.held_out:.3f}"),
    "Distance to the affine hull of the members over the distance to their mean. 0 is a combination of "
    "members, as averages and principal components are.",
)
_SEGMENTS = (
    *("Segments", "{0.generated:.3f}", "originals {0.original:.3f}"),
    "Distance to the nearest segment between two members over that to the nearest member. 0 is interpolation "
    "of two, 1 where no segment comes nearer.",
)


class _Dashes(Formatter):
    """Formats what is not defined as a dash."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Format one value."""
        return "–" if value is None else str(super().format_field(value, format_spec))


def measures(results: Results) -> list[Measure]:
    """Return the novelty measures of an evaluation in the order of the page."""
    novelty, hull = results.novelty, results.geometry.affine_hull
    found = [_filled(row, novelty, results) for row in _ERRORS]
    for name, ours, originals, meaning in _DISTANCES:
        if (nearest := getattr(novelty, ours)) is not None:
            row = (name, "{0.mean:.3g}", "originals {1.mean:.3g}", meaning + _CLOSEST)
            found.append(_filled(row, nearest, getattr(novelty, originals)))
    found.append(_filled(_NO_COPYING if novelty.z_u.value is None else _COPYING, novelty.z_u))
    if hull is not None:
        measure = _filled(_HULL, hull)
        found.append(measure if hull.held_out is not None else measure._replace(reference=""))
    return [*found, _filled(_SEGMENTS, results.geometry.segments)]


def _filled(row: tuple[str, ...], *facts: object) -> Measure:
    return Measure(*(_Dashes().format(text, *facts) for text in row))
