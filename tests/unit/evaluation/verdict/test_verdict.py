"""The verdict: what it says for every position beside the Pareto front, and what it rests on."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.metrics.errors import resemblance
from pdiff.evaluation.schema import AccessEntry, Scale, Verdict
from pdiff.evaluation.verdict.comparison import Comparison
from pdiff.evaluation.verdict.verdict import decide, fronts, position
from pdiff.generators.base import DataKind
from pdiff.tasks.base import Metric
from tests.unit.evaluation.errors import models, predictions

N = 2000
BANK = predictions(models(0, 12, N, rate=0.10, centre=0.0, own=0.35), "original")
BASELINES = [
    BANK,
    predictions(models(1, 12, N, rate=0.09, centre=0.0, own=0.2), "average", 16),
    predictions(models(2, 12, N, rate=0.12, centre=0.0, own=0.7), "gaussian", 1.0),
    predictions(models(3, 12, N, rate=0.20, centre=0.0, own=1.4), "noise", 0.02),
]


ACCURACY = Scale(name="accuracy", higher_is_better=True, percent=True)


def access(kind: DataKind = "weights", asked: DataKind | None = None) -> AccessEntry:
    return AccessEntry(kind=kind, asked=asked or kind, gradient_evaluations=0, reestimated=False)


def decided(
    rate: float, centre: float, own: float, *, runs: int = 1, size: int = 12
) -> tuple[Verdict, Comparison]:
    """The verdict on made-up generated models."""
    ours = [
        predictions(models(50 + run, size, N, rate=rate, centre=centre, own=own), run=run)
        for run in range(runs)
    ]
    comparison = Comparison(BANK, ours, BASELINES)
    return decide(comparison, access(), ACCURACY, seed=0, replicates=40), comparison


def within(wrong: Tensor) -> float:
    """GG, or OO: mean similarity of two different models."""
    others = resemblance(wrong, wrong).to_others
    assert others is not None
    return float(others.mean())


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.2, "above"), (-0.2, -0.1, "below"), (-0.1, 0.1, "on"), (0.0, 0.1, "on"), (-0.1, 0.0, "on")],
)
def test_the_position_is_the_intervals(low: float, high: float, expected: str) -> None:
    assert position(low, high) == expected


def test_better_at_the_same_similarities_is_above() -> None:
    found, _ = decided(0.06, 0.5, 0.8)
    assert found.position == "above"
    similarity, gg = found.at_max_similarity, found.at_gg
    first, second = (
        "{:+.2f} points ({:+.2f} to {:+.2f})".format(*(100 * x for x in (each.margin, *each.interval)))
        for each in (similarity, gg)
    )
    assert found.sentence == (
        f"Above the Pareto front: {first} at max-similarity {similarity.at:.3f} (above) "
        f"and {second} at GG {gg.at:.3f} (above) (with baselines from weights alone)."
    )
    assert similarity.reached_by.startswith("mixture of ")
    assert (found.bootstrap.replicates, found.bootstrap.level) == (40, 0.95)
    assert (found.bootstrap.seed, found.bootstrap.over) == (0, ["samples", "models"])


def test_the_numbers_are_those_of_the_models() -> None:
    found, comparison = decided(0.06, 0.5, 0.8)
    ours, bank = comparison.groups[0].wrong, BANK.wrong
    similarity, gg = found.at_max_similarity, found.at_gg
    assert similarity.score == gg.score == pytest.approx(1 - float(ours.double().mean()), abs=1e-12)
    assert similarity.at == pytest.approx(float(resemblance(ours, bank).max_similarity.mean()), abs=1e-12)
    assert gg.at == pytest.approx(within(ours), abs=1e-12)
    oo = within(bank)
    assert oo is not None
    assert found.concentration.difference == pytest.approx(gg.at - oo, abs=1e-12)
    low, high = found.concentration.interval
    assert low < found.concentration.difference < high
    for each in (similarity, gg):
        assert each.margin == pytest.approx(each.score - each.front, abs=1e-12)
        assert each.interval[0] <= each.interval[1]


def test_a_cloud_moved_away_is_above_in_one_plane_only() -> None:
    """All models err alike and unlike the bank's: new by max-similarity, and no more use than one of them."""
    found, _ = decided(0.11, 1.2, 0.1)
    assert found.at_max_similarity.position == "above"
    assert found.at_gg.position == "below"
    assert found.position == "below"
    assert found.sentence.startswith("Below the Pareto front: +")
    assert " (above) and −" in found.sentence


def test_draws_from_a_rival_are_on_the_frontier() -> None:
    ours = [predictions(models(2, 24, N, rate=0.12, centre=0.0, own=0.7)[12:])]
    found = decide(Comparison(BANK, ours, BASELINES), access("inputs"), ACCURACY, seed=0, replicates=40)
    assert found.position == "on"
    assert found.sentence.startswith("On the Pareto front: ")
    assert found.sentence.endswith("(with baselines from weights and unlabelled inputs).")


def test_worse_at_the_same_similarities_is_below() -> None:
    found, _ = decided(0.25, 0.0, 0.7)
    assert (found.at_max_similarity.position, found.position) == ("below", "below")


def test_a_few_models_are_never_above() -> None:
    found, _ = decided(0.06, 0.5, 0.8, size=4)
    assert (found.at_max_similarity.position, found.at_gg.position) == ("above", "above")
    assert found.position == "on"
    assert found.sentence.startswith("On the Pareto front: +")
    assert found.sentence.endswith(
        "; 4 generated models are too few to be above (with baselines from weights alone)."
    )
    assert decided(0.06, 0.5, 0.8, size=5)[0].position == "above"


def test_one_model_is_never_above() -> None:
    found, _ = decided(0.02, 0.5, 0.8, size=1)
    assert found.at_max_similarity.position == "above"
    assert found.at_gg is None
    assert found.position == "on"
    assert (
        "(above); a single generated model has no GG (with baselines from weights alone)." in found.sentence
    )


def test_several_runs_are_drawn_too() -> None:
    """Runs with centres of their own: the interval knows, and their models are alike within a run."""
    found, comparison = decided(0.08, 0.6, 0.3, runs=3)
    assert found.bootstrap.over == ["samples", "models", "runs"]
    together = predictions(torch.cat([run.wrong for run in comparison.groups[:3]]))
    pooled = decide(Comparison(BANK, [together], BASELINES), access(), ACCURACY, seed=0, replicates=40)
    assert found.at_max_similarity.at == pytest.approx(pooled.at_max_similarity.at, abs=1e-12)
    assert found.at_gg.at > pooled.at_gg.at, "GG is within runs"
    low, high = found.at_max_similarity.interval
    pooled_low, pooled_high = pooled.at_max_similarity.interval
    assert high - low > pooled_high - pooled_low


def test_a_score_of_which_less_is_better() -> None:
    """Errors in some unit: generated models with fewer are above, and the numbers keep the unit."""
    metric = Metric("RMSE", False, False, lambda outputs, _: outputs, lambda each: float(each.mean()))
    generator = torch.Generator().manual_seed(0)

    def with_errors(population: Predictions, mean: float) -> Predictions:
        each = population.population
        measured = mean + torch.rand(len(population.wrong), N, 1, generator=generator)
        return predictions(population.wrong, each.family, each.strength, metric=metric, measured=measured)

    bank = with_errors(BANK, 2.0)
    baselines = [bank, *(with_errors(rival, 2.5) for rival in BASELINES[1:])]
    ours = with_errors(predictions(models(60, 12, N, rate=0.1, centre=0.5, own=0.8)), 1.5)
    comparison = Comparison(bank, [ours], baselines)
    found = decide(
        comparison,
        access("gradients"),
        Scale(name="RMSE", higher_is_better=False, percent=False),
        seed=0,
        replicates=10,
    )
    assert found.position == "above"
    assert found.at_gg.score == pytest.approx(2.0, abs=0.01)
    assert found.at_gg.front == pytest.approx(2.5, abs=0.6)
    assert found.at_gg.margin > 0.4
    assert " RMSE (+0." in found.sentence
    assert all(score > 1.9 for _, score in fronts(comparison).gg)


def test_the_fronts_are_those_that_the_margins_are_over() -> None:
    found, comparison = decided(0.11, 0.3, 0.6)
    drawn = fronts(comparison)
    for plane, key in (("max_similarity", "at_max_similarity"), ("gg", "at_gg")):
        x, score = torch.tensor(getattr(drawn, plane), dtype=torch.float64).T.numpy()
        at = getattr(found, key).at
        assert getattr(found, key).front == pytest.approx(float(np.interp(at, x, score)), abs=1e-4)
        assert (np.diff(x) > 0).all()
        assert (np.diff(score) >= -1e-12).all()
