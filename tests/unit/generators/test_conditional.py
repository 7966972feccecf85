"""Answers to conditions: regressions against plain ones, and a flow that goes where it is asked."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.common.config import ConditionalConfig, Config, LatentConfig
from pdiff.common.errors import UsageError
from pdiff.generation.sample import generate
from pdiff.generators import fit
from pdiff.generators.conditional import KernelRidge, Nearest, Regression, Ridge
from pdiff.generators.latent import Latent
from pdiff.generators.train import train
from tests.support import TINY, bank_of

K, DIM = 40, 30


@pytest.fixture
def known() -> Tensor:
    return torch.rand(K, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def rows(known: Tensor) -> Tensor:
    """A smooth function of the condition, and noise."""
    generator = torch.Generator().manual_seed(1)
    to_rows = torch.randn(3, DIM, dtype=torch.float64, generator=generator)
    features = torch.stack([known[:, 0], (4 * known[:, 1]).sin(), known.prod(dim=1)], dim=1)
    return features @ to_rows + 0.01 * torch.randn(K, DIM, dtype=torch.float64, generator=generator)


@pytest.fixture
def conditioned(known: Tensor, rows: Tensor, tmp_path: Path) -> Bank:
    (tmp_path / "c").mkdir()
    lines = ["file,a,b"]
    for index, row in enumerate(rows):
        save_file({"weight": row.float()}, tmp_path / "c" / f"{index}.safetensors")
        lines.append(f"{index}.safetensors,{float(known[index, 0])},{float(known[index, 1])}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return collect(tmp_path / "c", out=tmp_path / "conditioned", conditions=tmp_path / "t.csv")


@pytest.mark.parametrize(
    "make",
    [
        lambda known: Ridge(known, 0.1, 1),
        lambda known: Ridge(known, 0.01, 2),
        lambda known: KernelRidge(known, 0.01, 0.5),
    ],
)
def test_the_leave_one_out_error_is_that_of_leaving_one_out(known: Tensor, rows: Tensor, make) -> None:  # type: ignore[no-untyped-def]
    """By fitting K times: with the mean and the scale of all, as the closed form has them."""
    whole: Regression = make(known)
    centred = rows - rows.mean(dim=0)
    kernel = whole.centre @ whole.kernel(known, known) @ whole.centre
    errors = []
    for member in range(K):
        others = [index for index in range(K) if index != member]
        # The kernel's coefficients, and a constant that is not penalised.
        system = torch.zeros(K, K, dtype=torch.float64)
        system[: K - 1, : K - 1] = kernel[others][:, others] + whole.strength * torch.eye(
            K - 1, dtype=torch.float64
        )
        system[: K - 1, K - 1] = system[K - 1, : K - 1] = 1
        right = torch.cat([rows[others], torch.zeros(1, DIM, dtype=torch.float64)])
        solved = torch.linalg.solve(system, right)
        predicted = kernel[member, others] @ solved[:-1] + solved[-1]
        errors.append(float((rows[member] - predicted).square().sum()))
    found = whole.error(centred @ centred.T)
    assert found == pytest.approx(sum(errors) / K, rel=1e-4)


def test_ridge_is_the_textbooks(known: Tensor, rows: Tensor) -> None:
    ridge = Ridge(known, 0.1, 1)
    features, targets = known - known.mean(dim=0), rows - rows.mean(dim=0)
    strength = 0.1 * features.square().sum() / K
    solution = torch.linalg.solve(
        features.T @ features + strength * torch.eye(2, dtype=torch.float64), features.T @ targets
    )
    asked = torch.tensor([[0.3, 0.9], [0.0, 0.1]], dtype=torch.float64)
    expected = (asked - known.mean(dim=0)) @ solution + rows.mean(dim=0)
    torch.testing.assert_close(ridge.weights(asked) @ rows, expected)
    torch.testing.assert_close(ridge.fitted, ridge.weights(known))


def test_nearest_members_are_averaged(known: Tensor) -> None:
    weights = Nearest(known, 3).weights(known[:2] + 1e-9)
    for member, row in enumerate(weights):
        nearest = (known - known[member]).norm(dim=1).argsort()[:3]
        assert sorted(row.nonzero()[:, 0].tolist()) == sorted(nearest.tolist())
        assert float(row.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (["method=nearest"], 1.0),
        (["method=average", "neighbours=4"], 1.0),
        (["method=ridge"], 0.8),
        (["method=ridge", "degree=2"], 0.3),
        (["method=kernel-ridge"], 0.1),
    ],
)
def test_a_condition_that_no_member_has_is_answered(
    conditioned: Bank, rows: Tensor, settings: list[str], most: float
) -> None:
    """Of every fourth member, which the regression has not seen."""
    config = Config.build("conditional", settings=[*settings, 'condition=["a", "b"]'])
    assert isinstance(config, ConditionalConfig)
    held_out = range(0, K, 4)
    generator = fit(config, conditioned.view([i for i in range(K) if i % 4]))
    with pytest.raises(UsageError, match="answers conditions: give them"):
        generator.rows([0], 0)
    generator.ask([conditioned.members[index].conditions for index in held_out])
    found = generator.rows(range(len(held_out)), 0).double()
    true = rows[list(held_out)]
    assert float((found - true).square().sum() / (true - rows.mean(dim=0)).square().sum()) < most
    assert torch.equal(generator.rows([len(held_out)], 5), found[:1].float())  # it begins again


def test_the_names_of_conditions_are_said(conditioned: Bank, rows: Tensor, tmp_path: Path) -> None:
    config = Config.build("conditional")
    with pytest.raises(UsageError, match=r"needs the name of a condition: --condition NAME; accepted: a, b$"):
        fit(config, conditioned.view(range(K)))
    with pytest.raises(UsageError, match="the bank has no conditions; `pdiff collect --conditions"):
        generate(bank_of(rows.float(), tmp_path), config=config, n=1, out=tmp_path / "generated")


def test_a_conditional_flow_goes_where_it_is_asked(conditioned: Bank, rows: Tensor) -> None:
    """Asked, it is far nearer to what a condition gives than when it is not."""
    settings = [
        "train.steps=400",
        "denoiser.width=64",
        "sampler.steps=10",
        'condition=["a", "b"]',
        "held_out=0",
    ]
    config = Config.build("default", settings=[*settings, "codec.latent_dim=3", "check=false"])
    assert isinstance(config, LatentConfig)
    held_out = range(0, K, 4)
    latent = fit(config, conditioned.view([i for i in range(K) if i % 4]))
    assert isinstance(latent, Latent)
    true = rows[list(held_out)]

    def error() -> float:
        found = latent.rows(range(len(held_out)), 0).double()
        return float((found - true).square().sum() / (true - rows.mean(dim=0)).square().sum())

    free = error()
    latent.ask([conditioned.members[index].conditions for index in held_out])
    assert error() < min(0.6, free / 2)


def test_a_run_is_asked_and_says_what_for(conditioned: Bank, tmp_path: Path) -> None:
    config = Config.build("default", settings=[*TINY, 'condition=["a"]'])
    run = train(conditioned, out=tmp_path / "run", config=config)
    asked = [{"a": 0.1}, {"a": 0.9}]
    models = generate(run, conditions=asked, n=4, out=tmp_path / "g")
    assert models.info.conditions == asked
    alone = generate(run, conditions=asked[1:], n=2, out=tmp_path / "h")
    assert torch.equal(models.rows()[1], alone.rows()[1])
    assert not torch.equal(models.rows()[0], alone.rows()[0])
    free = generate(run, n=2, out=tmp_path / "i").rows()
    ignoring = generate(run, config=run.config.sampled(guidance=0), conditions=asked, n=2, out=tmp_path / "j")
    torch.testing.assert_close(ignoring.rows(), free)
    with pytest.raises(UsageError, match="condition 'a' is missing"):
        generate(run, conditions=[{"b": 0.1}], n=1, out=tmp_path / "k")
    with pytest.raises(UsageError, match="guidance is for conditions; say which"):
        generate(run, config=run.config.sampled(guidance=2), n=1, out=tmp_path / "k")
    plain = train(conditioned, out=tmp_path / "plain", config=Config.build("default", settings=TINY))
    with pytest.raises(UsageError, match="was not fitted to conditions"):
        generate(plain, conditions=asked, n=1, out=tmp_path / "l")
    with pytest.raises(UsageError, match="trained without any"):
        plain.config.sampled(guidance=2)


@pytest.mark.parametrize(
    "make", [lambda known: Ridge(known, 0.1, 1), lambda known: KernelRidge(known, 0.1, 1.0)]
)
def test_a_condition_that_never_changes_gives_the_mean(make) -> None:  # type: ignore[no-untyped-def]
    smoother = make(torch.zeros(5, 1, dtype=torch.float64))
    found = smoother.weights(torch.zeros(2, 1, dtype=torch.float64))
    torch.testing.assert_close(found, torch.full((2, 5), 0.2, dtype=torch.float64))
