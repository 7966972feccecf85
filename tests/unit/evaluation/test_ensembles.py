"""Soft votes against a few lines that follow the definitions, and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from pdiff.evaluation.ensembles import SIZES, _interleaved, calibration_error, vote_table
from pdiff.rng import numpy_generator

N, CLASSES = 300, 4


def probabilities(seed: int, models: int, sharpness: float = 2.0) -> Tensor:
    """Class probabilities f16 [V, N, C] of models that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(models, N, CLASSES, generator=generator)
    logits[:, torch.arange(N), targets()] += 1
    return (sharpness * logits).softmax(dim=-1).half()


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


def test_every_size_equals_the_definition() -> None:
    ours = probabilities(0, 20)
    table = vote_table([probabilities(1, 60)], [ours], [probabilities(2, 5)], targets(), seed=0)
    assert table["sizes"] == list(SIZES) == [1, 2, 5, 10, 20, 50]
    found = table["families"]["generated"]
    score, nll, ece = figures(ours)  # the order does not matter for all of them
    assert (found["score"][4], found["nll"][4], found["ece"][4]) == pytest.approx((score, nll, ece), abs=1e-6)
    assert [value is None for value in found["score"]] == [False] * 5 + [True]
    assert [value is None for value in table["families"]["gaussian"]["nll"]] == [False] * 3 + [True] * 3
    assert None not in table["families"]["original"]["ece"]
    assert set(table["families"]) == {"original", "generated", "gaussian", "mixed"}
    assert found["draws"] == [len(single_draws(20)), 8, 8, 8, 1, 0]


def single_draws(models: int, seed: int = 0) -> set[int]:
    """The models that vote alone: the first of each random order."""
    orders = [
        numpy_generator(seed, "evaluate/votes/generated", draw).permutation(models) for draw in range(8)
    ]
    return {int(order[0]) for order in orders}


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_means_over_draws_that_differ(seed: int) -> None:
    ours = probabilities(0, 20)
    found = vote_table([ours], [ours], [ours], targets(), seed)["families"]["generated"]
    singles = [figures(ours[index : index + 1]) for index in single_draws(20, seed)]
    assert found["draws"][0] == len(singles) > 4
    for name, values in zip(("score", "nll", "ece"), zip(*singles, strict=True), strict=True):
        assert found[name][0] == pytest.approx(np.mean(values), abs=1e-6)
        assert found["std"][name][0] == pytest.approx(np.std(values), abs=1e-6)
        assert [std is None for std in found["std"][name]] == [False] * 4 + [True] * 2, "one set of all 20"


def test_the_mean_over_draws_hangs_less_on_luck_than_one_draw() -> None:
    ours, order = probabilities(0, 40), numpy_generator(0, "order").permutation(40)
    singles = [figures(ours[[index]])[1] for index in order[:12]]
    tables = [vote_table([ours], [ours], [ours], targets(), seed)["families"] for seed in range(12)]
    means = [table["generated"]["nll"][0] for table in tables]
    assert np.std(means) < 0.6 * np.std(singles), "1/√8 in the long run"
    assert np.mean([table["generated"]["std"]["nll"][0] for table in tables]) == pytest.approx(
        np.std(singles), rel=0.5
    )


def test_runs_vote_together_and_mixed_votes_are_half_of_each() -> None:
    parts = [probabilities(3, 6), probabilities(4, 4)]
    bank = probabilities(5, 10)
    table = vote_table([bank], parts, [bank], targets(), seed=0)
    families = table["families"]
    assert families["generated"]["score"][3] == pytest.approx(figures(torch.cat(parts))[0], abs=1e-6)
    assert families["mixed"]["nll"][4] == pytest.approx(figures(torch.cat([*parts, bank]))[1], abs=1e-6)
    assert families["mixed"]["nll"][0] == families["generated"]["nll"][0]
    assert families["mixed"]["draws"][3:] == [8, 1, 0]
    assert _interleaved([5, 6, 7], list(range(40))) == [5, 0, 6, 1, 7, 2]
    assert len(_interleaved(list(range(60)), list(range(60)))) == 50


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_torchmetrics_agrees_on_calibration(sharpness: float) -> None:
    for seed in range(3):
        rows = probabilities(seed, 1, sharpness)[0].float()
        rows = rows / rows.sum(dim=1, keepdim=True)
        peer = multiclass_calibration_error(rows, targets(), CLASSES, n_bins=15, norm="l1")
        assert calibration_error(rows, targets()) == pytest.approx(float(peer), abs=1e-6)


def test_certain_predictions() -> None:
    certain = torch.eye(CLASSES)[targets()].half()[None].expand(2, -1, -1)
    wrong = torch.eye(CLASSES)[(targets() + 1) % CLASSES].half()[None].expand(2, -1, -1)
    table = vote_table([certain], [wrong], [certain], targets(), seed=0)["families"]
    assert (table["original"]["score"][1], table["original"]["nll"][1], table["original"]["ece"][1]) == (
        1,
        0,
        0,
    )
    assert (table["generated"]["score"][1], table["generated"]["ece"][1]) == (0, 1)
    assert table["generated"]["nll"][1] == pytest.approx(24 * math.log(2)), "finite, for JSON"
