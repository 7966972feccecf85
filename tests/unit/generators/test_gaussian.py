"""Gaussians: the moments of what is drawn, SWAG against a slow reference, and views."""

import numpy as np
import pytest
import torch

from pdiff.bank import Bank, View
from pdiff.common.rng import numpy_generator
from pdiff.generators.gaussian import swag_deviations
from tests.unit.generators.rows import CONSTANT, SHARED, WEIGHTS, K, normalised, rows


def test_a_diagonal_gaussian_has_the_banks_mean_and_std(bank: Bank) -> None:
    draws = normalised(bank, rows(bank, "gaussian", 2000), "element")
    varying = torch.arange(WEIGHTS) != CONSTANT
    weights = draws[:, :WEIGHTS][:, varying]
    assert float(weights.mean(dim=0).abs().max()) < 5 / 2000**0.5
    torch.testing.assert_close(weights.std(dim=0), torch.ones(WEIGHTS - 1), rtol=0, atol=0.09)
    doubled = normalised(bank, rows(bank, "gaussian", 2000, scale=2.0), "element")
    torch.testing.assert_close(doubled[:, :WEIGHTS], 2 * draws[:, :WEIGHTS], rtol=0, atol=1e-3)


@pytest.mark.parametrize("covariance", ["diagonal", "pca", "swag"])
def test_what_no_member_changes_stays(bank: Bank, covariance: str) -> None:
    drawn = rows(bank, "gaussian", 20, covariance=covariance)
    torch.testing.assert_close(drawn[:, CONSTANT], torch.full((20,), 0.25), rtol=0, atol=1e-5)
    of_view = rows(bank.view(range(K - 2)), "gaussian", 20, covariance=covariance)
    torch.testing.assert_close(of_view[:, SHARED], torch.full((20,), 0.5), rtol=0, atol=1e-5)
    if covariance == "diagonal":
        assert set(drawn[:, CONSTANT].tolist()) == {0.25}
        assert set(of_view[:, SHARED].tolist()) == {0.5}


def test_a_diagonal_gaussian_of_a_view_has_the_views_moments(bank: Bank) -> None:
    view = bank.view([1, 4, 5, 9, 16])
    members = view.batch(range(5)).double()[:, :WEIGHTS]
    drawn = rows(view, "gaussian", 3000).double()[:, :WEIGHTS]
    std = members.std(dim=0, correction=0)
    standard = ((drawn - members.mean(dim=0)) / std)[:, std > 0]
    assert float(standard.mean(dim=0).abs().max()) < 5 / 3000**0.5
    torch.testing.assert_close(standard.std(dim=0), torch.ones_like(standard[0]), rtol=0, atol=0.08)


def test_the_pca_gaussian_has_the_banks_covariance(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor")).double()[:, :WEIGHTS]
    members -= (centre := members.mean(dim=0))
    draws = normalised(bank, rows(bank, "gaussian", 4000, covariance="pca")).double()[:, :WEIGHTS] - centre
    # Every draw lies in the span of the centred members, where the bank's covariance is that of the draws.
    _, spectrum, axes = torch.linalg.svd(members, full_matrices=False)
    axes, deviations = axes[: K - 1], spectrum[: K - 1] / K**0.5
    scores = draws @ axes.T
    assert float((draws - scores @ axes).norm() / draws.norm()) < 1e-3
    covariance = (scores / deviations).T.cov(correction=0)
    torch.testing.assert_close(covariance, torch.eye(K - 1, dtype=torch.float64), rtol=0, atol=0.1)
    twice = normalised(bank, rows(bank, "gaussian", 4000, covariance="pca", scale=2.0)).double()
    torch.testing.assert_close(twice[:, :WEIGHTS] - centre, 2 * draws, rtol=0, atol=1e-4)


def reference_swag(view: View, rank: int, scale: float, index: int, seed: int) -> np.ndarray:
    """One draw of SWAG in normalised float64, one member after the other as in the paper's algorithm 1."""
    members = view.batch(range(len(view)), view.normalizer("tensor")).double().numpy()
    mean, square = np.zeros(view.dim), np.zeros(view.dim)
    columns: list[np.ndarray] = []
    for n, member in enumerate(members):
        mean = (n * mean + member) / (n + 1)
        square = (n * square + member**2) / (n + 1)
        columns = [*columns, member - mean][-rank:]
    generator = numpy_generator(seed, "baseline/swag", index)
    low, white = generator.standard_normal(len(columns)), generator.standard_normal(view.dim, dtype="float32")
    variance = np.maximum(square - mean**2, 0)
    diagonal = np.sqrt(variance) * white / np.sqrt(2)
    low_rank = np.stack(columns, axis=1) @ low / np.sqrt(2 * (len(columns) - 1))
    return mean + scale * (diagonal + low_rank)


@pytest.mark.parametrize(("rank", "scale"), [(5, 1.0), (20, 1.0), (7, 0.5), (50, 2.0)])
@pytest.mark.parametrize("chosen", [range(K), [16, 3, 4, 9, 1]])
def test_swag_is_the_papers(bank: Bank, rank: int, scale: float, chosen: list[int]) -> None:
    view = bank.view(chosen)
    drawn = rows(view, "gaussian", 3, seed=2, covariance="swag", rank=rank, scale=scale)
    expected = torch.stack(
        [torch.from_numpy(reference_swag(view, rank, scale, index, seed=2)).float() for index in range(3)]
    )
    bank.normalizer("tensor").invert(expected.numpy())
    torch.testing.assert_close(drawn[:, :WEIGHTS], expected[:, :WEIGHTS], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(drawn[:, WEIGHTS:], expected[:, WEIGHTS:], rtol=1e-3, atol=1e-4)


def test_swag_has_half_of_each_covariance(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor")).double()[:, :WEIGHTS]
    deviations = swag_deviations(K, 6) @ members
    expected = members.var(dim=0, correction=0).diag() / 2 + deviations.T @ deviations / (2 * (6 - 1))
    drawn = normalised(bank, rows(bank, "gaussian", 6000, covariance="swag", rank=6)).double()[:, :WEIGHTS]
    std = expected.diag().sqrt()
    unit = std.where(std > 1e-9, 1.0)
    found, expected = (each / unit / unit[:, None] for each in (drawn.T.cov(), expected))
    assert float((drawn.mean(dim=0) - members.mean(dim=0)).div(unit).abs().max()) < 5 / 6000**0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=0.08)


def test_deviations_are_from_the_running_mean() -> None:
    expected = torch.tensor(
        [[-1 / 2, 1 / 2, 0, 0], [-1 / 3, -1 / 3, 2 / 3, 0], [-1 / 4, -1 / 4, -1 / 4, 3 / 4]]
    )
    torch.testing.assert_close(swag_deviations(4, 3), expected.double())
    assert swag_deviations(4, 9).shape == (4, 4)
    assert not swag_deviations(4, 9)[0].any()
    assert torch.equal(swag_deviations(4, 2), swag_deviations(4, 4)[2:])
