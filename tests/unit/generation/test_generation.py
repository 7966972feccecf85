"""Generating: determinism, completeness, refusals."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff.common.errors import InputError, UsageError
from pdiff.generation import Generated, generate
from pdiff.generators.base import BLOCK
from pdiff.generators.train import load_generator
from pdiff.training import Run
from tests.support import checkpoint

MakeRun = Callable[..., Run]
CONV = ("codec.kind=conv", "codec_train.steps=3", "codec_train.batch_size=4")


@pytest.mark.parametrize("settings", [("default",), ("paper", *CONV)])
def test_model_i_does_not_depend_on_n(make_run: MakeRun, tmp_path: Path, settings: tuple[str, ...]) -> None:
    run = make_run(*settings)
    few, many = generate(run, n=3, out=tmp_path / "few"), generate(run, n=BLOCK + 5, out=tmp_path / "many")
    assert (len(few), len(many)) == (3, BLOCK + 5)
    for ours, theirs in zip(few, many, strict=False):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    rows = many.rows()
    assert len(rows.unique(dim=0)) == BLOCK + 5
    assert torch.equal(load_generator(run, "cpu").rows([BLOCK + 2], 0)[0], rows[BLOCK + 2])
    assert torch.equal(many.row(BLOCK + 2), rows[BLOCK + 2])
    assert torch.equal(many.row(-1), rows[-1])


def test_seeds_give_other_models(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    first, second = (generate(run, n=1, seed=s, out=tmp_path / f"s{s}") for s in (0, 1))
    assert not torch.equal(first.rows(), second.rows())


def test_models_are_complete_finite_and_in_the_domain(make_run: MakeRun, tmp_path: Path) -> None:
    generated = generate(make_run(), n=40, out=tmp_path / "g")
    assert sorted(generated.info.files) == generated.info.files
    for state in generated:
        assert {n: (t.shape, t.dtype) for n, t in state.items()} == {
            n: (t.shape, t.dtype) for n, t in checkpoint(0).items()
        }
        assert all(bool(t.isfinite().all()) for t in state.values())
        assert float(state["bn.running_var"].min()) >= 0
        assert torch.equal(state["frozen.weight"], checkpoint(0)["frozen.weight"])


def test_the_folder_opens_again_and_knows_its_bank(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    generate(run, n=2, out=tmp_path / "g")
    again = Generated.open(tmp_path / "g")
    assert again.bank.digest == run.bank.digest
    assert again.info.cost.per_model_s > 0
    with pytest.raises(UsageError, match="not empty; replace it with --overwrite"):
        generate(run, n=2, out=tmp_path / "g")


def test_a_diverged_run_is_refused_and_leaves_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    path = run.path / "denoiser.safetensors"
    save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(InputError, match=r"model 0: \d+ values are not finite"):
        generate(run, n=2, out=tmp_path / "g")
    assert not [p for p in tmp_path.iterdir() if "g" in p.name.split(".")]


def test_what_is_not_generated_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no generated checkpoints here"):
        Generated.open(tmp_path)
