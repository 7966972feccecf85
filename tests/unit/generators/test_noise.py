"""Noise on members and on their mean, and points between two members."""

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.generators.noise import noise_scale
from tests.unit.generators.rows import WEIGHTS, K, everyone, made, normalised, rows


def weights(bank: Bank, n: int, **values: object) -> Tensor:
    """Normalised weights of the first rows of noise."""
    return normalised(bank, rows(bank, "noise", n, **values))[:, :WEIGHTS]


def test_noise_is_a_member_plus_white_noise_of_sigma_stds(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor"))
    generator = made(bank, "noise", scale=0.3)
    sigma = generator.strength
    assert sigma is not None
    offsets = []
    for row in normalised(bank, generator.rows(range(200), 0)):
        distances = (members - row).square().sum(dim=1)
        offsets.append(row - members[distances.argmin()])
    noises = torch.stack(offsets)
    found = noises[:, :WEIGHTS]  # what follows are variances, whose logarithm is bounded from below
    assert float(found.mean()) == pytest.approx(0, abs=4 * sigma / (200 * WEIGHTS) ** 0.5)
    assert float(found.std()) == pytest.approx(sigma, rel=0.02)
    assert float(noises[:, WEIGHTS:].std()) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("around", ["member", "mean"])
def test_stronger_noise_goes_further_the_same_way(bank: Bank, around: str) -> None:
    sigmas = [made(bank, "noise", around=around, scale=scale).strength or 0 for scale in (1.0, 2.5)]
    none, weak, strong = (weights(bank, 3, around=around, scale=scale) for scale in (0.0, 1.0, 2.5))
    torch.testing.assert_close((strong - none) / sigmas[1], (weak - none) / sigmas[0], rtol=0, atol=1e-4)


def test_noise_around_the_mean_is_centred_there(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor")).double()
    generator = made(bank, "noise", around="mean", scale=0.5)
    assert generator.strength is not None
    draws = normalised(bank, generator.rows(range(400), 0)).double()
    offsets = (draws - members.mean(dim=0))[:, :WEIGHTS]
    assert float(offsets.mean(dim=0).abs().max()) < 5 * generator.strength / 400**0.5
    assert float(offsets.std()) == pytest.approx(generator.strength, rel=0.02)


def test_noise_scales_follow_the_spread_of_the_members(bank: Bank) -> None:
    for view in (everyone(bank), bank.view([1, 4, 5])):
        members = view.batch(range(len(view)), bank.normalizer("tensor")).double()
        spread = float(members.var(dim=0, correction=0).mean().sqrt())
        for factor in (0.25, 0.5, 1.0):
            scale = noise_scale(view, factor)
            assert scale == pytest.approx(factor * spread, rel=0.05)
            assert scale == float(f"{scale:.1e}"), "two digits, so that they can be named"


def test_interpolation_is_on_the_segment_of_two_members(bank: Bank) -> None:
    members = bank.batch(range(K)).double()
    found = rows(bank, "interpolation", 20, weight=0.2)
    half = rows(bank, "interpolation", 20)
    for row, middle in zip(found, half, strict=True):
        mixtures = {(a, b): 0.8 * members[a] + 0.2 * members[b] for a in range(K) for b in range(K) if a != b}
        distances = {pair: float((mixture - row).norm()) for pair, mixture in mixtures.items()}
        pair = min(distances, key=lambda pair: distances[pair])
        assert distances[pair] < 1e-4
        torch.testing.assert_close(middle, members[list(pair)].mean(dim=0).float(), rtol=1e-5, atol=1e-6)
