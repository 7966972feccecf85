"""From what was measured to `results.json`, format 4: plain numbers, each with how many models it is of.

Scores are in the metric's unit (fractions where people read per cent), similarities are IoU of wrong
predictions, distances are in the units that `Weights` names. None is a figure that is not defined.

    format       4
    task         {name, arch, split, samples, metric: {name, higher_is_better, percent}}
    bank         {path, digest, members, dim, held_out}: members that training has not seen, by index
    league       {name, asked, gradient_evaluations, reestimated}: what the method and its rivals have seen;
                 `name` is not the league that was `asked` for where there was nothing to re-estimate
    original, generated   {n, best, max, mean, min, std, selected: {index, validation, test} | None}
                 `best` is the test score of the model that is best on validation, None without such a split
    runs         [{path, seed, run_digest, preset, n, mean, max_similarity, gg}], one a generated folder
    ensemble     {n, mean, max_similarity} of the average of all weights
    baselines    [{family, strength, league, n, score: {mean, min, max, std}, max_similarity, containment,
                 gg, dispersion}]
    controls     [{name, n, score, max_similarity, containment, gg, dispersion}]
    novelty      {max_similarity: {mean, min, max}, original_max_similarity, containment,
                 original_containment, oo, gg, og, gg_nearest, distinct, distinct_original, dispersion,
                 l2_nearest, l2_nearest_original, l2_nearest_raw, l2_nearest_raw_original,
                 l2_nearest_aligned (each {mean, min} or None), z_u: {value, generated, held_out} or
                 {value: None, reason}}; GG and its like are within runs, `distinct` is over all of them
    geometry     {affine_hull, segments}, see `hull`
    votes        {sizes, pools: {name: n}, families: {name: {draws, score, nll, ece,
                 std: {score, nll, ece}}}} or None, see `ensembles`
    verdict      {league, position, sentence, at_max_similarity, at_gg, concentration, findings, bootstrap},
                 see `verdict`; at_… is {at, score, frontier, margin, interval, position, rival},
                 concentration (GG − OO) {difference, interval} or None
    envelopes    {max_similarity: [[x, score], …], gg: [[x, score], …]}, the frontier's vertices
    points       [{family, strength, run, score, max_similarity, gg}], one a model
    plots        what the page draws besides, see `plots`
    warnings     [sentence]
    cost         {once_s, per_model_s, gradient_evaluations, evaluate_s}
    provenance   versions, seeds, digests and counts
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pdiff.evaluation import novelty
from pdiff.evaluation.field import Field
from pdiff.evaluation.scored import Scored, joined
from pdiff.generation import Generated

__all__ = ["FORMAT", "parts", "run_entries"]

FORMAT = 4


def parts(
    field: Field[Scored], selected: tuple[dict[str, Any] | None, dict[str, Any] | None]
) -> dict[str, Any]:
    """Return the parts of `results.json` that are computed from predictions and rows, but for the verdict.

    `selected` says which original and which generated model is best on validation.
    """
    return {
        "original": _selected_summary([field.original], selected[0]),
        "generated": _selected_summary(field.runs, selected[1]),
        "ensemble": {
            "n": field.ensemble.size,
            "mean": mean(field.ensemble.scores),
            "max_similarity": mean(field.ensemble.max_similarity),
        },
        "baselines": [_baseline(each) for each in field.baselines],
        "controls": [{"name": each.judged.population.family, **_family(each)} for each in field.controls],
        "novelty": _novelty(field.original, field.runs),
        "points": [point for scored in field for point in _points(scored)],
    }


def run_entries(folders: Sequence[Generated], runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return one entry for each generated folder."""
    return [
        {
            "path": str(folder.path.resolve()),
            "seed": folder.info.seed,
            "run_digest": folder.info.run.digest,
            "preset": folder.info.run.preset,
            "n": run.size,
            "mean": mean(run.scores),
            "max_similarity": mean(run.max_similarity),
            "gg": run.gg,
        }
        for folder, run in zip(folders, runs, strict=True)
    ]


def _selected_summary(runs: Sequence[Scored], selected: dict[str, Any] | None) -> dict[str, Any]:
    """Summarise the scores of all runs, and of the model that validation selects."""
    scores = joined([run.scores for run in runs])
    return {
        "n": len(scores),
        "best": None if selected is None else selected["test"],
        **_spread(scores),
        "selected": selected,
    }


def _spread(scores: Tensor) -> dict[str, float]:
    """Summarise scores; the std is the population's, 0 for one model."""
    return {
        "max": float(scores.max()),
        "mean": mean(scores),
        "min": float(scores.min()),
        "std": float(scores.std(correction=0)),
    }


def _baseline(scored: Scored) -> dict[str, Any]:
    """Return a baseline's entry."""
    population = scored.judged.population
    return {
        "family": population.family,
        "strength": population.strength,
        "league": population.league,
        **_family(scored),
    }


def _family(scored: Scored) -> dict[str, Any]:
    """Return what is said of baselines and of controls."""
    return {
        "n": scored.size,
        "score": _spread(scored.scores),
        "max_similarity": mean(scored.max_similarity),
        "containment": mean(scored.containment),
        "gg": scored.gg,
        "dispersion": scored.dispersion,
    }


def _novelty(bank: Scored, runs: Sequence[Scored]) -> dict[str, Any]:
    """Return the novelty measures; those that need two generated models of a run are None without."""
    largest = joined([run.max_similarity for run in runs])
    several = [run for run in runs if run.size > 1]
    return {
        "max_similarity": {"mean": mean(largest), "min": float(largest.min()), "max": float(largest.max())},
        "original_max_similarity": mean(bank.max_similarity),
        "containment": mean(joined([run.containment for run in runs])),
        "original_containment": mean(bank.containment),
        "oo": bank.gg,
        "gg": mean(joined([run.to_others for run in several])) if several else None,
        "og": mean(joined([run.similarity for run in runs])),
        "gg_nearest": mean(joined([run.to_nearest for run in several])) if several else None,
        "distinct": novelty.distinct_count(_among(runs)),
        "distinct_original": novelty.distinct_count(_among([bank])),
        "dispersion": dispersion(runs),
        **_distances(bank, runs),
    }


def _among(runs: Sequence[Scored]) -> Tensor:
    """Return the similarity of every two models of all runs: f64 [M, M]."""
    wrong = joined([run.judged.wrong for run in runs])
    return novelty.iou_matrix(wrong, wrong)


def dispersion(runs: Sequence[Scored]) -> float | None:
    """Return the dispersion ratio within runs, each as far as it is defined (RMS over their models)."""
    ratios = [(run.size, run.dispersion) for run in runs if run.dispersion is not None]
    if not ratios:
        return None
    total = sum(size - 1 for size, _ in ratios)
    return float((sum((size - 1) * ratio**2 for size, ratio in ratios) / total) ** 0.5)


def _distances(bank: Scored, runs: Sequence[Scored]) -> dict[str, Any]:
    """Return how near the models come to the bank, and its members to one another."""
    ours, originals = [each.distances for each in runs], [bank.distances]
    aligned = [each.aligned for each in ours if each.aligned is not None]
    return {
        "l2_nearest": _nearest([each.normalised for each in ours]),
        "l2_nearest_original": _nearest([each.normalised for each in originals]),
        "l2_nearest_raw": _nearest([each.raw for each in ours]),
        "l2_nearest_raw_original": _nearest([each.raw for each in originals]),
        "l2_nearest_aligned": _nearest(aligned) if aligned else None,
    }


def _nearest(distances: Sequence[Tensor]) -> dict[str, float]:
    """Summarise distances to the nearest member."""
    together = joined(distances)
    return {"mean": mean(together), "min": float(together.min())}


def _points(scored: Scored) -> list[dict[str, Any]]:
    """Return one entry a model, for the scatters."""
    population = scored.judged.population
    others = [None] if scored.size == 1 else scored.to_others.tolist()
    return [
        {
            "family": population.family,
            "strength": population.strength,
            "run": population.run,
            "score": score,
            "max_similarity": similarity,
            "gg": gg,
        }
        for score, similarity, gg in zip(
            scored.scores.tolist(), scored.max_similarity.tolist(), others, strict=True
        )
    ]


def mean(values: Tensor) -> float:
    """Return the mean without the last bits, which depend on the order of the sum."""
    return round(float(values.mean()), 12)
