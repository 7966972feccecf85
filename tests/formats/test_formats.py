"""What earlier versions left on disk is read to the same numbers, or refused as too old and never misread."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pdiff.bank import Bank
from pdiff.generation.extract import export
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.training import Run
from pdiff.verification import verify
from tests.formats.make import HERE, MEMBERS, member

VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "bank").is_dir())


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what one version wrote."""
    return Path(shutil.copytree(HERE / request.param, tmp_path / "written"))


def test_this_version_is_among_them() -> None:
    assert VERSIONS == ["0.1.0"]


def test_everything_is_as_it_was_written(folder: Path) -> None:
    for name, kind in (
        *(("bank", "bank"), ("run", "run"), ("exported", "exported")),
        *(("generated", "generated"), ("rows", "generated")),
    ):
        found = verify(folder / name)
        assert (found.kind, found.bad) == (kind, [])


def test_a_bank_holds_the_checkpoints_that_it_was_collected_from(folder: Path) -> None:
    bank = Bank.open(folder / "bank")
    assert [each.metrics["accuracy"] for each in bank.members] == pytest.approx(
        [0.1 * i for i in range(MEMBERS)]
    )
    for index in range(MEMBERS):
        state = bank.state_dict(bank.batch([index])[0])
        expected = member(index)
        assert state.keys() == expected.keys()
        for name, tensor in expected.items():
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor), name
    assert bank.statistics["element_mean"].shape == (bank.dim,)


def test_a_run_gives_the_models_that_it_gave(folder: Path, tmp_path: Path) -> None:
    run = Run.open(folder / "run")
    assert run.config.label() == "default" or run.config.label().startswith("default")
    before = Generated.open(folder / "generated")
    again = generate(run, n=len(before), seed=before.info.seed, out=tmp_path / "again")
    for old, new in zip(before, again, strict=True):
        for name, tensor in old.items():
            torch.testing.assert_close(
                new[name], tensor, rtol=1e-2 if tensor.dtype != torch.float32 else 1e-5, atol=1e-5
            )


def test_rows_files_and_exports_of_a_model_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    rows, files = Generated.open(folder / "rows"), Generated.open(folder / "generated")
    for row, file in zip(rows, files, strict=True):
        assert all(torch.equal(row[name], file[name]) for name in file)
    exported = load_file(folder / "exported" / "model-0001.safetensors")
    assert exported.keys() == files[1].keys()
    assert all(torch.equal(exported[name], files[1][name]) for name in exported)
    (again,) = export(rows, members=[1], out=tmp_path / "again")
    assert again.read_bytes() == (folder / "exported" / "model-0001.safetensors").read_bytes()


def test_an_average_is_that_of_its_members(folder: Path) -> None:
    average = load_file(folder / "average" / "average.safetensors")
    mean = torch.stack([member(index)["layer.weight"].double() for index in range(MEMBERS - 1)]).mean(0)
    assert torch.equal(average["layer.weight"], mean.float())
