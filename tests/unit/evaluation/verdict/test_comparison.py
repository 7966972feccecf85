"""Comparisons on draws against a slow reference that repeats samples and models one by one."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from pdiff.common.rng import numpy_generator
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.metrics.errors import resemblance
from pdiff.evaluation.verdict.bootstrap import _draw, bootstrap, interval, unrounded
from pdiff.evaluation.verdict.comparison import Comparison, Counts, Draw, Estimates
from pdiff.tasks.base import Metric
from tests.unit.evaluation.errors import models, predictions

N = 60


def compared(seed: int = 0, runs: int = 1) -> tuple[Predictions, list[Predictions], list[Predictions]]:
    """A bank, generated models of `runs` folders, and baselines: the bank, two families, a single model."""
    bank = predictions(models(seed, 7, N, rate=0.2, centre=0.5, own=0.3), "original")
    ours = [
        predictions(models(seed + 100 + run, 5 + run, N, rate=0.25, centre=0.5, own=0.4), run=run)
        for run in range(runs)
    ]
    baselines = [
        bank,
        predictions(models(seed + 1, 4, N, rate=0.3, centre=0.6, own=0.6), "noise", 1.0),
        predictions(models(seed + 2, 6, N, rate=0.15, centre=0.2, own=0.1), "average", 4),
        predictions(models(seed + 3, 1, N, rate=0.2, centre=0.1, own=0.1), "ensemble"),
    ]
    return bank, ours, baselines


def repeated(draw: Draw, population: Predictions, counts: Counts) -> list[tuple[int, set[tuple[int, int]]]]:
    """The drawn models: (index, the places in the drawn test set that it gets wrong)."""
    samples = torch.arange(N) if draw.samples is None else draw.samples
    return [
        (index, {(place, s) for place, s in enumerate(samples.tolist()) if population.wrong[index, s]})
        for index in range(len(counts))
        for _ in range(int(counts[index]))
    ]


def iou(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def slow(draw: Draw, bank: Predictions, ours: list[Predictions], baselines: list[Predictions]) -> Estimates:
    """The definition, model by model and pair by pair."""
    members = repeated(draw, bank, np.ones(len(bank.wrong), np.int64))
    groups = [
        (group, repeated(draw, group, counts))
        for group, counts in zip([*ours, *baselines], draw.models, strict=True)
    ]
    scores = [mean([1 - len(errors) / N for _, errors in drawn]) for _, drawn in groups]
    nearest = [
        mean(
            [
                max(iou(errors, m) for k, m in members if group is not bank or k != index)
                for index, errors in drawn
            ]
        )
        for group, drawn in groups
    ]
    within = [
        [
            mean([iou(x, y) for i, x in first for j, y in second if a is not b or i != j])
            for b, second in groups
        ]
        for a, first in groups
    ]
    runs = [
        run for run, count in enumerate(draw.runs.tolist()) for _ in range(int(count) * len(ours[run].wrong))
    ]
    rest = range(len(ours), len(groups))
    return Estimates(
        mean([scores[run] for run in runs]),
        scores[len(ours)],
        mean([nearest[run] for run in runs]),
        mean([within[run][run] for run in runs]),
        mean([iou(x, y) for i, x in members for j, y in members if i != j]),
        np.array([scores[i] for i in rest]),
        np.array([nearest[i] for i in rest]),
        np.array([[within[i][j] for j in rest] for i in rest]),
    )


def assert_same(found: Estimates, expected: Estimates) -> None:
    assert (found.score, found.max_similarity, found.gg, found.oo) == pytest.approx(
        (expected.score, expected.max_similarity, expected.gg, expected.oo), abs=1e-12
    )
    assert found.over_originals == pytest.approx(expected.score - expected.baseline_scores[0], abs=1e-12)
    for name in ("baseline_scores", "baseline_similarities", "baseline_gg"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_draw_equals_the_definition(seed: int, runs: int) -> None:
    bank, ours, baselines = compared(seed, runs)
    comparison = Comparison(bank, ours, baselines)
    for replicate in range(3):
        draw = _draw(comparison, numpy_generator(seed, "test", replicate))
        assert_same(comparison.estimates(draw), slow(draw, bank, ours, baselines))


def test_everything_once_is_the_table() -> None:
    bank, ours, baselines = compared()
    comparison = Comparison(bank, ours, baselines)
    estimates = comparison.estimates(comparison.everything())
    assert_same(estimates, slow(comparison.everything(), bank, ours, baselines))
    found = resemblance(ours[0].wrong, bank.wrong)
    assert estimates.max_similarity == pytest.approx(float(found.max_similarity.mean()), abs=1e-12)
    own = resemblance(bank.wrong, bank.wrong)
    assert own.to_others is not None
    assert estimates.baseline_gg[0, 0] == pytest.approx(float(own.to_others.mean()), abs=1e-12)
    assert estimates.baseline_similarities[0] == pytest.approx(float(own.max_similarity.mean()), abs=1e-12)


def test_models_without_errors_are_alike() -> None:
    none = torch.zeros(3, N, dtype=torch.bool)
    bank = predictions(none, "original")
    comparison = Comparison(bank, [predictions(none)], [bank])
    estimates = comparison.estimates(comparison.everything())
    assert (estimates.score, estimates.max_similarity, estimates.gg) == pytest.approx((1, 1, 1), abs=1e-12)
    every = ~none
    comparison = Comparison(bank, [predictions(every)], [bank])
    estimates = comparison.estimates(comparison.everything())
    assert (estimates.score, estimates.max_similarity, estimates.gg) == pytest.approx((0, 0, 1), abs=1e-12)


def test_one_model_has_no_place_in_the_plane_of_gg() -> None:
    bank, ours, baselines = compared()
    comparison = Comparison(bank, [predictions(ours[0].wrong[:1])], baselines)
    estimates = comparison.estimates(comparison.everything())
    assert estimates.gg is None
    assert estimates.in_gg is None
    margins = bootstrap(comparison, replicates=3, seed=0)
    assert margins.gg is None and margins.concentration is None


def test_a_single_rival_has_no_gg() -> None:
    bank, ours, baselines = compared()
    comparison = Comparison(bank, ours, baselines)
    estimates = comparison.estimates(comparison.everything())
    assert np.isnan(estimates.baseline_gg[3, 3])
    plane = estimates.in_gg
    assert plane is not None
    assert 3 not in {plane.front.first, plane.front.second}


def test_a_metric_of_its_own_where_less_is_better() -> None:
    """Mean absolute errors: scores are negated, and drawn again with the samples."""
    metric = Metric("MAE", False, False, lambda outputs, _: outputs, lambda each: float(each.mean()))
    bank, ours, baselines = compared()
    generator = torch.Generator().manual_seed(0)

    def with_metric(population: Predictions) -> Predictions:
        each = population.population
        measured = torch.rand(len(population.wrong), N, 1, generator=generator)
        return predictions(population.wrong, each.family, each.strength, metric=metric, measured=measured)

    bank = with_metric(bank)
    ours, baselines = [with_metric(each) for each in ours], [bank, *map(with_metric, baselines[1:])]
    comparison = Comparison(bank, ours, baselines)
    draw = _draw(comparison, numpy_generator(0, "test"))
    estimates = comparison.estimates(draw)
    for found, population, counts in zip(
        [estimates.score, *estimates.baseline_scores], [*ours, *baselines], draw.models, strict=True
    ):
        assert population.measured is not None and draw.samples is not None
        errors = population.measured[:, draw.samples, 0].double().mean(dim=1).numpy()
        assert found == pytest.approx(-float(errors @ counts / counts.sum()), abs=1e-6)


def test_the_same_seed_gives_the_same_margins() -> None:
    comparison = Comparison(*compared(runs=2))
    one, again = (bootstrap(comparison, replicates=6, seed=3) for _ in range(2))
    longer, other = bootstrap(comparison, replicates=8, seed=3), bootstrap(comparison, replicates=6, seed=4)
    assert one.gg is not None and again.gg is not None
    assert (one.max_similarity == again.max_similarity).all() and (one.gg == again.gg).all()
    assert (longer.max_similarity[:6] == one.max_similarity).all()
    assert (other.max_similarity != one.max_similarity).any()


def test_a_draw_says_how_much_more_alike_the_generated_models_are_than_members() -> None:
    comparison = Comparison(*compared())
    found = bootstrap(comparison, replicates=4, seed=1).concentration
    draws = [_draw(comparison, numpy_generator(1, "evaluate/bootstrap", index)) for index in range(4)]
    draws_estimates = [slow(draw, *compared()) for draw in draws]
    assert found is not None
    assert found == pytest.approx([s.gg - s.oo for s in draws_estimates], abs=1e-12)  # type: ignore[operator]


def test_runs_are_drawn_before_their_models() -> None:
    comparison = Comparison(*compared(runs=3))
    draws = [_draw(comparison, numpy_generator(0, "test", index)) for index in range(200)]
    assert {tuple(draw.runs.tolist()) for draw in draws} >= {(3, 0, 0), (1, 1, 1), (0, 2, 1)}
    for draw, (run, group) in itertools.product(draws, enumerate(comparison.groups)):
        times = max(int(draw.runs[run]), 1) if run < 3 else 1
        assert draw.models[run].sum() == times * len(group.wrong)


def test_an_interval_is_of_percentiles_around_the_estimate() -> None:
    assert interval(0.5, np.arange(201) / 200, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(0.6, np.arange(201) / 200, 0.9) == pytest.approx((0.15, 1.05))
    skewed = np.array([0.0] * 90 + [1.0] * 10)
    assert interval(0.1, skewed) == pytest.approx((0, 1))


def test_an_interval_holds_its_estimate_and_takes_rounding_for_nothing() -> None:
    rare = np.array([0.0] * 999 + [1.0])
    low, high = interval(0.0, rare)
    assert low < 0 == high
    rounded = np.array([-7e-16, -3e-16, -1e-16])
    assert interval(-3.3e-16, rounded) == (0, 0)
    assert unrounded(-3.3e-16) == 0
    assert unrounded(-3e-9) == -3e-9


def test_a_sample_is_drawn_with_all_of_its_parts() -> None:
    """Three parts a sample, against every part as a sample of its own, drawn three at a time."""
    bank, ours, baselines = compared()
    parts = 3

    def grouped(population: Predictions, parts: int) -> Predictions:
        return dataclasses.replace(population, parts=parts)

    in_parts = grouped(bank, parts)
    comparison = Comparison(
        in_parts,
        [grouped(each, parts) for each in ours],
        [in_parts, *(grouped(b, parts) for b in baselines[1:])],
    )
    alone = Comparison(bank, ours, baselines)
    assert (comparison.samples, alone.samples) == (N // parts, N)
    draw = _draw(comparison, numpy_generator(0, "test"))
    assert draw.samples is not None
    places = torch.cat([torch.arange(parts) + parts * sample for sample in draw.samples])
    assert_same(comparison.estimates(draw), alone.estimates(dataclasses.replace(draw, samples=places)))
