"""The sweeps that every judgement draws: their strengths, how far they reach, and what they are called."""

from pathlib import Path

import pytest
import torch

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.generators import fit
from pdiff.generators.noise import noise_scale
from pdiff.generators.sweeps import family_name, gradient_sweeps, label, weight_sweeps
from tests.unit.generators.rows import K, everyone, normalised


def test_every_judgement_holds_these(bank: Bank) -> None:
    members = everyone(bank)
    strengths: dict[str, list[float | None]] = {}
    for config in weight_sweeps(bank):
        generator = fit(config, members)
        strengths.setdefault(family_name(config), []).append(generator.strength)
        assert generator.data_access.kind == "weights"
        assert generator.rows(range(4), 0).shape == (4, bank.dim)
    scales = [0.5, 1, 2, 3, 4, 8, 16]
    assert strengths == {
        "noise": [noise_scale(members, factor) for factor in [0.25, 0.5, 1, 2, 4, 8]],
        "mean-noise": [noise_scale(members, factor) for factor in [0.5, 1, 2, 4, 8, 16]],
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
    for config in weight_sweeps(bank):
        rows = normalised(bank, fit(config, everyone(bank)).rows(range(4), 0))
        nearest = torch.cdist(rows, members).amin(dim=1).mean()
        reached.setdefault(family_name(config), []).append(float(nearest) / spread)
    assert max(distances[0] for distances in reached.values()) < 1.3
    for family in ("noise", "mean-noise", "gaussian", "pca-gaussian"):
        assert reached[family][-1] > 3 * reached[family][0]
        assert reached[family][-1] > 4


def test_averages_of_a_sweep_are_of_fewer_than_all(ckpts: Path, tmp_path: Path) -> None:
    small = collect(ckpts, out=tmp_path / "small")
    for members, expected in ((small, [2, 4, 8]), (small.view(range(8)), [2, 4]), (small.view([0, 1]), [])):
        counts = [config.members for config in weight_sweeps(members) if config.family == "average"]  # type: ignore[attr-defined]
        assert counts == expected


def test_labels_say_the_strength(bank: Bank) -> None:
    generators = [fit(config, everyone(bank)) for config in weight_sweeps(bank)]
    names = [label(family_name(generator.config), generator.strength) for generator in generators]
    assert len(set(names)) == len(names)
    assert {"average of 16", "Gaussian ×0.5", "PCA Gaussian ×16", "interpolation λ 0.05"} <= set(names)


@pytest.mark.parametrize(
    ("preset", "values", "family", "strength", "expected"),
    [
        ("average", {}, "average", None, "average of all"),
        ("average", {"members": 4, "choice": "last"}, "average-last", 4, "average of the last 4"),
        ("average", {"choice": "last"}, "average", None, "average of all"),
        ("average", {"soup": "greedy"}, "greedy-soup", None, "greedy soup"),
        ("gaussian", {"covariance": "swag"}, "swag", 1.0, "SWAG ×1"),
        ("noise", {"around": "mean"}, "mean-noise", 0.02, "mean + noise σ 0.02"),
        ("tuned", {"start": "mean"}, "tuned-mean", 0.5, "tuned mean + Gaussian ×0.5"),
        ("tuned", {"start": "cyclic"}, "cyclic", 0.01, "cyclic, rate 0.01"),
        ("tuned", {"start": "gaussian"}, "tuned-gaussian", 8.0, "tuned Gaussian ×8"),
        ("paper", {}, "latent", None, "latent"),
    ],
)
def test_families_have_names(
    preset: str, values: dict[str, object], family: str, strength: float | None, expected: str
) -> None:
    config = Config.from_values(Config.preset(preset).values() | values)
    assert family_name(config) == family
    assert label(family, strength) == expected


def test_the_sweep_with_gradients() -> None:
    points: dict[str, list[float]] = {}
    for config in gradient_sweeps(40, 5, seed=3):
        assert (config.seed, config.family) == (3, "tuned")
        values = config.values()
        assert (values["gradient_evaluations"], values["models"]) == (40, 5)
        key = "rate" if values["start"] == "cyclic" else "scale"
        points.setdefault(family_name(config), []).append(values[key])
    assert points == {
        "tuned-mean": [0.5, 1, 2, 4, 8, 16],
        "cyclic": [0.001, 0.01, 0.03],
        "tuned-gaussian": [2, 4, 8, 16],
    }
    assert gradient_sweeps(0, 5) == []
