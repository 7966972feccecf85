"""Baselines: their statistics, their determinism, and that the bank is left as it was."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.evaluation.baselines import (
    average,
    baseline_populations,
    ensemble,
    gaussian,
    noise,
    noise_scales,
)

K = 20
CONSTANT = 5  # the element of `layer.weight` that no member changes
FAMILIES: list[Callable[[Bank, Sequence[int]], Tensor]] = [
    partial(noise, sigma=0.1, seed=3),
    partial(average, members=4, seed=3),
    partial(gaussian, scale=1.0, seed=3),
]


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Twenty checkpoints: 240 weights, one of them constant, and 40 variances of very different sizes."""
    (tmp_path / "ckpts").mkdir()
    for index in range(K):
        generator = torch.Generator().manual_seed(index)
        weight = 3 + 0.2 * torch.arange(240.0) + 0.5 * torch.randn(240, generator=generator)
        weight[CONSTANT] = 0.25
        variance = torch.logspace(-4, 2, 40) * (0.2 * torch.randn(40, generator=generator)).exp()
        save_file(
            {"layer.weight": weight, "norm.running_var": variance}, tmp_path / f"ckpts/s-{index}.safetensors"
        )
    return collect(tmp_path / "ckpts", out=tmp_path / "bank")


def normalised(bank: Bank, rows: Tensor, kind: str = "tensor") -> Tensor:
    """A normalised copy of raw rows."""
    copy = rows.clone()
    bank.normalizer(kind).apply(copy.numpy())  # type: ignore[arg-type]
    return copy


@pytest.mark.parametrize("family", FAMILIES)
def test_row_i_depends_on_seed_and_i_alone(bank: Bank, family: partial[Tensor]) -> None:
    rows = family(bank, range(6))
    assert torch.equal(family(bank, [4, 1]), rows[[4, 1]])
    assert len(rows.unique(dim=0)) == 6
    other = partial(family.func, **{**family.keywords, "seed": 4})
    assert not torch.equal(other(bank, [0])[0], rows[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bank_is_left_alone_and_rows_are_ours(bank: Bank, family: partial[Tensor]) -> None:
    before = bank.batch(range(K))
    rows = family(bank, range(5))
    rows.fill_(0)
    assert torch.equal(bank.batch(range(K)), before)
    assert bool((family(bank, range(5)) != 0).any())


@pytest.mark.parametrize(
    "family", [*FAMILIES, partial(noise, sigma=5.0, seed=0), partial(gaussian, scale=9.0, seed=0)]
)
def test_variances_are_never_negative(bank: Bank, family: partial[Tensor]) -> None:
    rows = family(bank, range(50))
    assert bool(rows.isfinite().all())
    assert float(rows[:, -40:].min()) >= 0


def test_noise_is_a_member_plus_white_noise_of_sigma_stds(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor"))
    sigma = 0.01
    offsets = []
    for row in normalised(bank, noise(bank, range(200), sigma=sigma, seed=0)):
        distances = (members - row).square().sum(dim=1)
        offsets.append(row - members[distances.argmin()])
    noises = torch.stack(offsets)
    weights = noises[:, :240]  # what follows are variances, whose logarithm is bounded from below
    assert float(weights.mean()) == pytest.approx(0, abs=4 * sigma / (200 * 240) ** 0.5)
    assert float(weights.std()) == pytest.approx(sigma, rel=0.02)
    assert float(noises[:, 240:].std()) == pytest.approx(sigma, rel=0.1)


def test_stronger_noise_goes_further_the_same_way(bank: Bank) -> None:
    weak, strong = (normalised(bank, noise(bank, range(3), sigma=s, seed=0))[:, :240] for s in (0.01, 0.03))
    none = normalised(bank, noise(bank, range(3), sigma=0.0, seed=0))[:, :240]
    torch.testing.assert_close(strong - none, 3 * (weak - none), rtol=0, atol=1e-5)


def test_gaussian_has_the_banks_mean_and_std(bank: Bank) -> None:
    draws = normalised(bank, gaussian(bank, range(2000), seed=0), "element")
    varying = torch.arange(240) != CONSTANT
    weights = draws[:, :240][:, varying]
    assert float(weights.mean(dim=0).abs().max()) < 5 / 2000**0.5
    torch.testing.assert_close(weights.std(dim=0), torch.ones(239), rtol=0, atol=0.09)
    doubled = normalised(bank, gaussian(bank, range(2000), scale=2.0, seed=0), "element")
    torch.testing.assert_close(doubled[:, :240], 2 * draws[:, :240], rtol=0, atol=1e-3)


def test_gaussian_keeps_what_no_member_changes(bank: Bank) -> None:
    assert set(gaussian(bank, range(20), seed=0)[:, CONSTANT].tolist()) == {0.25}


def test_average_is_of_different_members(bank: Bank) -> None:
    members = bank.batch(range(K)).double()
    for row in average(bank, range(30), members=2, seed=0):
        pairs = [
            (i, j)
            for i in range(K)
            for j in range(i)
            if torch.equal(members[[i, j]].mean(dim=0).float(), row)
        ]
        assert len(pairs) == 1
    torch.testing.assert_close(average(bank, [0], members=K, seed=0)[0], members.mean(dim=0).float())


def test_ensemble_is_the_average_of_all(bank: Bank) -> None:
    row = ensemble(bank)
    assert row.shape == (1, bank.dim)
    assert torch.equal(row[0], bank.batch(range(K)).double().mean(dim=0).float())


def test_noise_scales_follow_the_banks_own_spread(bank: Bank) -> None:
    rows = bank.batch(range(K), bank.normalizer("tensor")).double()
    spread = float(rows.var(dim=0, correction=0).mean().sqrt())
    for scale, factor in zip(noise_scales(bank), (0.25, 0.5, 1.0), strict=True):
        assert scale == pytest.approx(factor * spread, rel=0.05)
        assert scale == float(f"{scale:.1e}"), "two digits, so that they can be named"


def test_every_evaluation_holds_these(bank: Bank) -> None:
    populations = baseline_populations(bank, 4, seed=0)
    assert [p.family for p in populations] == ["noise"] * 3 + ["average", "gaussian"]
    assert [p.strength for p in populations] == [*noise_scales(bank), 16, 1.0]
    assert [p.rows(range(p.size)).shape for p in populations] == [(4, bank.dim)] * 5


def test_a_small_bank_is_averaged_whole(ckpts: Path, tmp_path: Path) -> None:
    small = collect(ckpts, out=tmp_path / "small")
    (averages,) = [p for p in baseline_populations(small, 2, seed=0) if p.family == "average"]
    assert averages.strength == len(small) < 16
