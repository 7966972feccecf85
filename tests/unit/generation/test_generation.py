"""Generating: determinism, completeness, refusals."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.config import Config, GaussianConfig
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import SILENT
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.gaussian import Gaussian
from pdiff.generators.train import load_generator
from pdiff.training import Run
from tests.support import checkpoint

MakeRun = Callable[..., Run]
MANY = 150
"""More than two blocks of any denoiser."""
CONV = ("codec.kind=conv", "codec.train.steps=3", "codec.train.batch_size=4", "denoiser.kind=conv")


@pytest.mark.parametrize("settings", [("default",), ("paper", *CONV)])
def test_model_i_does_not_depend_on_n(make_run: MakeRun, tmp_path: Path, settings: tuple[str, ...]) -> None:
    run = make_run(*settings)
    few, many = generate(run, n=3, out=tmp_path / "few"), generate(run, n=MANY, out=tmp_path / "many")
    assert (len(few), len(many)) == (3, MANY)
    for ours, theirs in zip(few, many, strict=False):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    rows = many.rows()
    assert len(rows.unique(dim=0)) == MANY
    some = [1, 2, 3, 4, 17, 130, MANY - 1]
    assert torch.equal(load_generator(run, "cpu").rows(some, 0), rows[some])
    assert torch.equal(many.row(130), rows[130])
    assert torch.equal(many.row(-1), rows[-1])


def test_seeds_give_other_models(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    first, second = (generate(run, n=1, seed=s, out=tmp_path / f"s{s}") for s in (0, 1))
    assert not torch.equal(first.rows(), second.rows())


def test_a_run_is_drawn_from_by_another_sampler(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    config = run.config.sampled(name="ddim", steps=3, temperature=0)
    models = generate(run, config=config, n=3, out=tmp_path / "g")
    assert models.info.generator.label.endswith(
        "sampler.name=ddim, sampler.steps=3, sampler.temperature=0.0, check=false"
    )
    rows = models.rows()
    assert torch.equal(rows[0], rows[2])  # without noise all are alike
    assert not torch.equal(rows[0], generate(run, n=1, out=tmp_path / "h").rows()[0])
    with pytest.raises(UsageError, match="a run has a generator already"):
        generate(run, config=Config.build("default", seed=3), n=1, out=tmp_path / "i")
    with pytest.raises(UsageError, match="gaussian has no sampler"):
        Config.preset("gaussian").sampled(steps=3)


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
    with pytest.raises(
        InputError, match=r"no model can be used, .* at \[0.*\] is nan, and so are [\d,]+ more"
    ):
        generate(run, n=2, out=tmp_path / "g")
    assert not [p for p in tmp_path.iterdir() if "g" in p.name.split(".")]


@pytest.mark.parametrize("form", ["safetensors", "rows"])
def test_a_model_that_cannot_be_used_is_left_out_by_name(
    bank: Bank, tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Gaussian.rows

    def one_bad(self: Gaussian, indices: Sequence[int], seed: int) -> Tensor:
        found = rows(self, indices, seed)
        found[list(indices).index(2), 4] = torch.inf
        return found

    monkeypatch.setattr(Gaussian, "rows", one_bad)
    said: list[str] = []
    told: Any = SimpleNamespace(track=SILENT.track, message=said.append)
    config = GaussianConfig(name="gaussian")
    made = generate(bank, config=config, n=5, out=tmp_path / "g", format=form, progress=told)
    assert len(made) == 4
    assert list(made.info.left_out) == ["model-0002"]
    segment = next(s for s in bank.layout.segments if s.end > 4)
    (line,) = said
    assert line.startswith(f"model-0002 is left out: tensor {segment.name} at [")
    assert line.endswith("] is inf")
    assert "--n 5 " in (tmp_path / "g/README.md").read_text()


def test_what_is_not_generated_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no generated checkpoints here"):
        Generated.open(tmp_path)
