"""Soft votes against a few lines that follow the definitions, and torchmetrics."""

import math
from collections.abc import Iterable
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from pdiff.evaluation.metrics.soft_voting import DRAWS, POOL, SIZES, _sets, calibration_error, vote_table
from pdiff.evaluation.schema import VoteFigures

N, CLASSES = 300, 4


def probabilities(seed: int, models: int, sharpness: float = 2.0) -> Tensor:
    """Class probabilities f32 [V, N, C] of models that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(models, N, CLASSES, generator=generator)
    logits[:, torch.arange(N), targets()] += 1
    return (sharpness * logits).softmax(dim=-1)


def targets() -> Tensor:
    return torch.arange(N) % CLASSES


def figures(votes: Tensor) -> tuple[float, float, float]:
    """Accuracy, negative log-likelihood and calibration error of the vote of all models: slow."""
    rows = votes.float().mean(dim=0)
    rows = (rows / rows.sum(dim=1, keepdim=True)).tolist()
    right = [row.index(max(row)) == target for row, target in zip(rows, targets().tolist(), strict=True)]
    nll = [-math.log(row[target]) for row, target in zip(rows, targets().tolist(), strict=True)]
    error = 0.0
    for index in range(15):
        inside = [
            (max(row), good)
            for row, good in zip(rows, right, strict=True)
            if index / 15 < max(row) <= (index + 1) / 15
        ]
        if inside:
            confidence, accuracy = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            error += abs(confidence - accuracy) * len(inside) / N
    return sum(right) / N, sum(nll) / N, error


def expected(sets: Iterable[Tensor]) -> list[tuple[float, float]]:
    """Mean and standard deviation of each figure over sets of models: slow."""
    return [(float(np.mean(each)), float(np.std(each))) for each in zip(*map(figures, sets), strict=True)]


def found(family: VoteFigures, place: int) -> list[tuple[float, float]]:
    return [
        (getattr(family, name)[place], getattr(family.std, name)[place]) for name in ("score", "nll", "ece")
    ]


def test_every_size_equals_the_definition() -> None:
    """Few models, so that all sets of them vote: every one, against every combination."""
    bank, ours, draws = probabilities(1, 6), probabilities(0, 4), probabilities(2, 3)
    table = vote_table([bank], [ours], [draws], targets(), seed=0)
    assert table.sizes == [1, 2, 5], "10 and more are reached by nobody"
    assert table.pools == {"original": 6, "generated": 4, "gaussian": 3}
    families = table.families
    assert {name: family.draws for name, family in families.items()} == {
        "original": [6, DRAWS, 6],
        "generated": [4, 6, 0],
        "gaussian": [3, 3, 0],
        "mixed": [0, DRAWS, DRAWS],
    }
    for name, models, place, size in (
        ("original", bank, 0, 1),
        ("original", bank, 2, 5),
        ("generated", ours, 0, 1),
        ("generated", ours, 1, 2),
        ("gaussian", draws, 1, 2),
    ):
        sets = [models[list(chosen)] for chosen in combinations(range(len(models)), size)]
        for pair, other in zip(found(families[name], place), expected(sets), strict=True):
            assert pair == pytest.approx(other, abs=1e-6)
    assert found(families["generated"], 2) == found(families["mixed"], 0) == [(None, None)] * 3


def test_one_model_is_the_mean_over_all_whatever_the_seed() -> None:
    ours = probabilities(0, 60)
    tables = [vote_table([ours], [ours], [ours], targets(), seed).families for seed in range(2)]
    singles = expected(ours[[index]] for index in range(60))
    for table in tables:
        assert table["generated"].draws[0] == 60
        for pair, other in zip(found(table["generated"], 0), singles, strict=True):
            assert pair == pytest.approx(other, abs=1e-6)
    assert tables[0]["generated"].nll[1] != tables[1]["generated"].nll[1]


@pytest.mark.parametrize("models", [2, 3, 6, 11, 21, 51, POOL])
def test_there_is_a_deviation_wherever_there_are_more_models_than_vote(models: int) -> None:
    pool = probabilities(0, models)
    for seed in range(3):
        table = vote_table([pool], [pool], [pool], targets(), seed)
        assert table.sizes == [size for size in SIZES if size <= 2 * models], "mixed"
        family = table.families["original"]
        for place, size in enumerate(table.sizes):
            assert (family.std.nll[place] is not None) == (models > size), size
            assert family.draws[place] == (models if size == 1 else min(DRAWS, math.comb(models, size)))


def test_sets_are_random_and_differ() -> None:
    sets = _sets([100], [50], 0, "x")
    assert len(set(sets)) == DRAWS
    assert all(len(set(chosen)) == 50 and set(chosen) <= set(range(100)) for chosen in sets)
    assert _sets([100], [50], 0, "x") == sets != _sets([100], [50], 1, "x")
    counts = np.bincount(
        [index for seed in range(200) for each in _sets([10], [5], seed, "x") for index in each]
    )
    assert counts.min() > 0.9 * counts.mean(), "nobody is drawn more often than others"
    assert _sets([3], [3], 0, "x") == [(0, 1, 2)]


def test_the_mean_over_draws_hangs_less_on_luck_than_one_draw() -> None:
    ours = probabilities(0, 40)
    pairs = [figures(ours[[index, index + 1]])[1] for index in range(0, 40, 2)]
    tables = [vote_table([ours], [ours], [ours], targets(), seed).families for seed in range(12)]
    means = [table["generated"].nll[1] for table in tables]
    assert np.std(means) < 0.6 * np.std(pairs), "1/√8 in the long run"
    assert np.mean([table["generated"].std.nll[1] for table in tables]) == pytest.approx(
        np.std(pairs), rel=0.5
    )


def test_runs_vote_together_and_mixed_votes_are_half_of_each() -> None:
    parts = [probabilities(3, 2), probabilities(4, 1)]
    bank = probabilities(5, 2)
    table = vote_table([bank], parts, [bank], targets(), seed=0)
    ours, families = torch.cat(parts), table.families
    assert table.pools["generated"] == 3
    sets = [ours[list(chosen)] for chosen in combinations(range(3), 2)]
    assert found(families["generated"], 1)[1] == pytest.approx(expected(sets)[1], abs=1e-6)
    pairs = [torch.stack([ours[one], bank[other]]) for one, other in product(range(3), range(2))]
    assert families["mixed"].draws == [0, 6, 1]
    for pair, other in zip(found(families["mixed"], 1), expected(pairs), strict=True):
        assert pair == pytest.approx(other, abs=1e-6)
    assert families["mixed"].nll[2] == pytest.approx(figures(torch.cat([ours, bank]))[1], abs=1e-6)
    assert families["mixed"].std.nll[2] is None, "three generated ones and two originals: one set"
    assert all(sum(i < 4 for i in chosen) == 3 for chosen in _sets([4, 9], [3, 2], 0, "x"))


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_torchmetrics_agrees_on_calibration(sharpness: float) -> None:
    from torchmetrics.functional.classification import (
        multiclass_calibration_error,
    )

    for seed in range(3):
        rows = probabilities(seed, 1, sharpness)[0].float()
        rows = rows / rows.sum(dim=1, keepdim=True)
        peer = multiclass_calibration_error(rows, targets(), CLASSES, n_bins=15, norm="l1")
        assert calibration_error(rows, targets()) == pytest.approx(float(peer), abs=1e-6)


def test_certain_predictions() -> None:
    certain = torch.eye(CLASSES)[targets()][None].expand(2, -1, -1)
    wrong = torch.eye(CLASSES)[(targets() + 1) % CLASSES][None].expand(2, -1, -1)
    table = vote_table([certain], [wrong], [certain], targets(), seed=0).families
    assert (table["original"].score[1], table["original"].nll[1], table["original"].ece[1]) == (
        1,
        0,
        0,
    )
    assert (table["generated"].score[1], table["generated"].ece[1]) == (0, 1)
    assert table["generated"].nll[1] == pytest.approx(126 * math.log(2)), "finite, for JSON"
