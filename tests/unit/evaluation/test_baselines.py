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
    MeanNoise,
    PcaGaussian,
    average,
    baseline_populations,
    ensemble,
    gaussian,
    interpolation,
    noise,
    noise_scales,
)
from pdiff.evaluation.families import label

K = 20
CONSTANT = 5  # the element of `layer.weight` that no member changes


def mean_noise(bank: Bank, indices: Sequence[int], *, sigma: float, seed: int) -> Tensor:
    return MeanNoise(bank, seed).rows(indices, sigma=sigma)


def pca_gaussian(bank: Bank, indices: Sequence[int], *, scale: float = 1.0, seed: int) -> Tensor:
    return PcaGaussian(bank, seed).rows(indices, scale=scale)


FAMILIES: list[Callable[[Bank, Sequence[int]], Tensor]] = [
    partial(noise, sigma=0.1, seed=3),
    partial(mean_noise, sigma=0.1, seed=3),
    partial(average, members=4, seed=3),
    partial(interpolation, weight=0.2, seed=3),
    partial(gaussian, scale=1.0, seed=3),
    partial(pca_gaussian, scale=1.0, seed=3),
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
    "family",
    [
        *FAMILIES,
        partial(noise, sigma=5.0, seed=0),
        partial(mean_noise, sigma=200.0, seed=0),
        partial(gaussian, scale=900.0, seed=0),
        partial(pca_gaussian, scale=900.0, seed=0),
    ],
)
def test_variances_are_never_negative(bank: Bank, family: partial[Tensor]) -> None:
    rows = family(bank, range(50))
    assert bool(rows.isfinite().all())
    assert float(rows[:, -40:].min()) >= 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_wrecked_models_still_fit_their_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(4):
        generator = torch.Generator().manual_seed(index)
        state = {
            "layer.weight": torch.randn(9, generator=generator).to(dtype),
            "norm.running_var": (3 * torch.randn(9, generator=generator)).exp().to(dtype),
        }
        save_file(state, tmp_path / f"ckpts/{index}.safetensors")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    for rows in (
        noise(bank, range(9), sigma=400.0, seed=0),
        mean_noise(bank, range(9), sigma=400.0, seed=0),
        gaussian(bank, range(9), scale=400.0, seed=0),
        pca_gaussian(bank, range(9), scale=400.0, seed=0),
    ):
        largest = torch.finfo(dtype).max
        assert float(rows.max()) == largest
        for row in rows:
            assert all(bool(tensor.isfinite().all()) for tensor in bank.state_dict(row).values())


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


@pytest.mark.parametrize("family", [noise, mean_noise])
def test_stronger_noise_goes_further_the_same_way(bank: Bank, family: Callable[..., Tensor]) -> None:
    none, weak, strong = (
        normalised(bank, family(bank, range(3), sigma=sigma, seed=0))[:, :240] for sigma in (0, 0.01, 0.03)
    )
    torch.testing.assert_close(strong - none, 3 * (weak - none), rtol=0, atol=1e-5)


def test_noise_around_the_mean_is_centred_there(bank: Bank) -> None:
    members = bank.batch(range(K), bank.normalizer("tensor")).double()
    draws = normalised(bank, mean_noise(bank, range(400), sigma=0.05, seed=0)).double()
    offsets = (draws - members.mean(dim=0))[:, :240]
    assert float(offsets.mean(dim=0).abs().max()) < 5 * 0.05 / 400**0.5
    assert float(offsets.std()) == pytest.approx(0.05, rel=0.02)


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


def test_larger_averages_take_the_same_members_and_more(bank: Bank) -> None:
    few, more, all_of_them = (average(bank, [3], members=k, seed=0).double() for k in (2, 3, K))
    third = 3 * more - 2 * few
    members = bank.batch(range(K)).double()
    scale = members.std(dim=0).clamp(min=1e-6)
    assert float(((third - members) / scale).abs().mean(dim=1).min()) < 1e-4
    torch.testing.assert_close(all_of_them.float(), ensemble(bank))


def test_interpolation_is_on_the_segment_of_two_members(bank: Bank) -> None:
    members = bank.batch(range(K)).double()
    rows = interpolation(bank, range(20), weight=0.2, seed=0)
    half = interpolation(bank, range(20), weight=0.5, seed=0)
    for row, middle in zip(rows, half, strict=True):
        mixtures = {(a, b): 0.8 * members[a] + 0.2 * members[b] for a in range(K) for b in range(K) if a != b}
        distances = {pair: float((mixture - row).norm()) for pair, mixture in mixtures.items()}
        pair = min(distances, key=lambda pair: distances[pair])
        assert distances[pair] < 1e-4
        torch.testing.assert_close(middle, members[list(pair)].mean(dim=0).float(), rtol=1e-5, atol=1e-6)


def test_the_pca_gaussian_has_the_banks_covariance(bank: Bank) -> None:
    rows = bank.batch(range(K), bank.normalizer("tensor")).double()[:, :240]
    rows -= (centre := rows.mean(dim=0))
    draws = normalised(bank, pca_gaussian(bank, range(4000), seed=0)).double()[:, :240] - centre
    # Every draw lies in the span of the centred members, where the bank's covariance is that of the draws.
    _, spectrum, axes = torch.linalg.svd(rows, full_matrices=False)
    axes, deviations = axes[: K - 1], spectrum[: K - 1] / K**0.5
    scores = draws @ axes.T
    assert float((draws - scores @ axes).norm() / draws.norm()) < 1e-3
    covariance = (scores / deviations).T.cov(correction=0)
    torch.testing.assert_close(covariance, torch.eye(K - 1, dtype=torch.float64), rtol=0, atol=0.1)
    twice = normalised(bank, pca_gaussian(bank, range(4000), scale=2.0, seed=0)).double()[:, :240] - centre
    torch.testing.assert_close(twice, 2 * draws, rtol=0, atol=1e-4)


def test_ensemble_is_the_average_of_all(bank: Bank) -> None:
    row = ensemble(bank)
    assert row.shape == (1, bank.dim)
    assert torch.equal(row[0], bank.batch(range(K)).double().mean(dim=0).float())


def test_noise_scales_follow_the_banks_own_spread(bank: Bank) -> None:
    rows = bank.batch(range(K), bank.normalizer("tensor")).double()
    spread = float(rows.var(dim=0, correction=0).mean().sqrt())
    factors = (0.25, 0.5, 1.0)
    for scale, factor in zip(noise_scales(bank, factors), factors, strict=True):
        assert scale == pytest.approx(factor * spread, rel=0.05)
        assert scale == float(f"{scale:.1e}"), "two digits, so that they can be named"


def test_every_evaluation_holds_these(bank: Bank) -> None:
    populations = baseline_populations(bank, 4, seed=0)
    strengths: dict[str, list[float | None]] = {}
    for population in populations:
        strengths.setdefault(population.family, []).append(population.strength)
        assert (population.size, population.league) == (4, "weights")
        assert population.rows(range(4)).shape == (4, bank.dim)
    scales = [0.5, 1, 2, 3, 4, 8, 16]
    assert strengths == {
        "noise": [*noise_scales(bank, [0.25, 0.5, 1, 2, 4, 8])],
        "mean-noise": [*noise_scales(bank, [0.5, 1, 2, 4, 8, 16])],
        "average": [2, 4, 8, 16],
        "interpolation": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5],
        "gaussian": scales,
        "pca-gaussian": scales,
    }


def test_sweeps_begin_near_the_bank_and_end_far_away(bank: Bank) -> None:
    """In units of the members' own RMS distance to their mean; an average ends at the mean."""
    normalizer = bank.normalizer("tensor")
    members = bank.batch(range(K), normalizer)
    spread = float((members - members.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    reached: dict[str, list[float]] = {}
    for population in baseline_populations(bank, 4, seed=0):
        rows = normalised(bank, population.rows(range(4)))
        nearest = bank.nearest(rows, normalizer)[1].mean()
        reached.setdefault(population.family, []).append(float(nearest) / spread)
    assert max(distances[0] for distances in reached.values()) < 1.3
    for family in ("noise", "mean-noise", "gaussian", "pca-gaussian"):
        assert reached[family][-1] > 3 * reached[family][0]
        assert reached[family][-1] > 4


def test_the_average_of_all_is_the_ensemble_and_no_baseline(ckpts: Path, tmp_path: Path) -> None:
    small = collect(ckpts, out=tmp_path / "small")
    for bank, expected in ((small, [2, 4, 8]), (small.view(range(8)), [2, 4]), (small.view([0, 1]), [])):
        assert [
            p.strength for p in baseline_populations(bank, 2, seed=0) if p.family == "average"
        ] == expected


def test_families_have_names_that_say_their_strength(bank: Bank) -> None:
    names = [label(p.family, p.strength) for p in baseline_populations(bank, 1, seed=0)]
    assert len(set(names)) == len(names)
    assert {"average of 16", "Gaussian ×0.5", "PCA Gaussian ×16", "interpolation λ 0.05"} <= set(names)
    assert label("ensemble", None) == "average of all"
    assert label("generated", None) == "p-diff"
