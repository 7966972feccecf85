"""What every family promises: row i, the bank, variances, views, and a state that gives the same rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pdiff.bank import Bank, collect
from pdiff.common.errors import UsageError
from pdiff.generators import family
from pdiff.generators.base import Context
from tests.unit.generators.rows import SHARED, WEIGHTS, K, made, numbers, rows, waves

DRAWN: list[dict[str, Any]] = [
    {"preset": "noise", "scale": 1.0},
    {"preset": "noise", "around": "mean", "scale": 1.0},
    {"preset": "average", "members": 4},
    {"preset": "interpolation", "weight": 0.2},
    {"preset": "gaussian"},
    {"preset": "gaussian", "covariance": "pca"},
    {"preset": "gaussian", "covariance": "swag", "rank": 5},
]
FIXED: list[dict[str, Any]] = [
    {"preset": "average"},
    {"preset": "average", "members": 3, "choice": "last"},
]
TUNED: list[dict[str, Any]] = [
    {"preset": "tuned", "start": "mean", "gradient_evaluations": 12, "models": 3},
    {"preset": "tuned", "start": "cyclic", "gradient_evaluations": 12, "models": 3},
    {"preset": "tuned", "start": "gaussian", "gradient_evaluations": 12, "models": 3},
]

quick = settings(deadline=None, derandomize=True, max_examples=40)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return numbers(tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize("values", DRAWN)
def test_row_i_depends_on_seed_and_i_alone(bank: Bank, values: dict[str, Any]) -> None:
    generator = made(bank, **values)
    found = generator.rows(range(6), 3)
    assert torch.equal(generator.rows([1, 4], 3), found[[1, 4]])
    assert torch.equal(made(bank, **values).rows([5], 3), found[5:])
    assert len(found.unique(dim=0)) == 6
    assert not torch.equal(generator.rows([0], 4), found[:1])
    assert generator.rows([], 3).shape == (0, bank.dim)


@pytest.mark.parametrize("values", FIXED)
def test_averages_without_a_draw_are_all_the_same(bank: Bank, values: dict[str, Any]) -> None:
    generator = made(bank, **values)
    assert len(torch.cat([generator.rows(range(3), seed) for seed in (0, 1)]).unique(dim=0)) == 1


@pytest.mark.parametrize("values", DRAWN + FIXED)
def test_the_bank_is_left_alone_and_rows_are_ours(bank: Bank, values: dict[str, Any]) -> None:
    before = bank.batch(range(K))
    generator = made(bank, **values)
    generator.rows(range(5), 0).fill_(0)
    assert torch.equal(bank.batch(range(K)), before)
    assert bool((generator.rows(range(5), 0) != 0).any())


@pytest.mark.parametrize(
    "values",
    [
        *DRAWN,
        {"preset": "noise", "scale": 900.0},
        {"preset": "noise", "around": "mean", "scale": 900.0},
        {"preset": "gaussian", "scale": 900.0},
        {"preset": "gaussian", "covariance": "pca", "scale": 900.0},
        {"preset": "gaussian", "covariance": "swag", "scale": 900.0},
    ],
)
def test_variances_are_never_negative(bank: Bank, values: dict[str, Any]) -> None:
    found = rows(bank, n=50, **values)
    assert bool(found.isfinite().all())
    assert float(found[:, WEIGHTS:].min()) >= 0


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
    for values in DRAWN:
        if values["preset"] in {"noise", "gaussian"}:
            found = rows(bank, n=9, **values | {"scale": 600.0})
            assert float(found.max()) == torch.finfo(dtype).max
            for row in found:
                assert all(bool(tensor.isfinite().all()) for tensor in bank.state_dict(row).values())


@pytest.mark.parametrize(
    "values",
    [*FIXED, DRAWN[2], DRAWN[3], DRAWN[4], DRAWN[6], {"preset": "noise", "around": "mean", "scale": 0.0}],
)
def test_what_is_held_out_has_no_influence(tmp_path: Path, values: dict[str, Any]) -> None:
    """Two banks that differ in members outside the view, and hence in their units, give the same weights."""
    found = []
    for last in (1.0, 1.5):
        (tmp_path / str(last)).mkdir()
        bank = numbers(tmp_path / str(last), last=last)
        found.append(rows(bank.view(range(K - 2)), n=4, **values)[:, :WEIGHTS])
    torch.testing.assert_close(*found, rtol=1e-6, atol=2e-5)
    whole = rows(bank, n=4, **values)[:, :WEIGHTS]
    assert float((whole - found[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("values", [DRAWN[0], DRAWN[2], DRAWN[3]])
def test_members_are_drawn_from_the_view(bank: Bank, values: dict[str, Any]) -> None:
    """Only the last two members have another number there."""
    values = values | ({"scale": 0.0} if values["preset"] == "noise" else {})
    inside = rows(bank.view(range(K - 2)), n=40, **values)[:, SHARED]
    assert float((inside - 0.5).abs().max()) < 1e-5
    assert float(rows(bank.view([K - 2, K - 1] * 2), n=4, **values)[:, SHARED].min()) > 1


@pytest.mark.parametrize("values", DRAWN + FIXED + TUNED)
def test_a_saved_generator_gives_the_same_rows(
    whole_bank: Bank, tmp_path: Path, values: dict[str, Any]
) -> None:
    members = whole_bank.view([5, 0, 3, 1])
    values = {key: min(value, 2) if key == "members" else value for key, value in values.items()}
    generator = made(members, context=waves(), **values)
    files = generator.save(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == files
    assert bool(files) == (values["preset"] == "tuned")
    again = family(generator.config).load(generator.config, members, tmp_path, Context())
    assert torch.equal(again.rows(range(3), 0), generator.rows(range(3), 0))
    assert again.strength == generator.strength
    assert again.data_access == generator.data_access


@pytest.mark.parametrize("values", [DRAWN[3], DRAWN[5], DRAWN[6]])
def test_two_members_are_needed_for_what_lies_between_them(bank: Bank, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs 2 members or more, not 1"):
        made(bank.view([0]), **values)
    assert rows(bank.view([0, 1]), n=2, **values).shape == (2, bank.dim)


@pytest.mark.parametrize("values", [*DRAWN, *FIXED])
def test_a_view_without_members_is_refused(bank: Bank, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="members or more, not 0"):
        made(bank.view([]), **values)


@quick
@given(
    values=st.sampled_from(DRAWN), wanted=st.sets(st.integers(0, 30), min_size=1, max_size=6), data=st.data()
)
def test_any_rows_of_any_members(
    values: dict[str, Any], wanted: set[int], data: st.DataObject, shared: Bank
) -> None:
    """Rows asked for together or one by one are the same bits."""
    chosen = data.draw(st.lists(st.integers(0, K - 1), min_size=4, max_size=K))
    generator = made(shared.view(chosen), **values)
    found = generator.rows(sorted(wanted), 1)
    assert torch.equal(torch.cat([generator.rows([index], 1) for index in sorted(wanted)]), found)
