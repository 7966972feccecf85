"""The tasks that `pdiff task --template` prints run as they are, the whole way."""

from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

import pdiff
from pdiff.cli.task import command
from pdiff.tasks import load_task
from pdiff.zoo import build_zoo

FEW = ["train.steps=3", "codec.latent_dim=4"]


def printed(kind: str) -> str:
    return CliRunner().invoke(command, ["--template", "--kind", kind]).stdout


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_a_printed_task_trains_and_judges_networks(kind: str, tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(printed(kind))
    name = f"{tmp_path / 'my_task.py'}:Mine"
    task, ckpts = load_task(name), tmp_path / "ckpts"
    arch = task.architectures[0]
    build_zoo(task, task_name=name, options={}, arch=arch, out=ckpts, k=5, epochs=1)
    bank = pdiff.collect(ckpts, out=tmp_path / "bank")
    run = pdiff.train(bank, out=tmp_path / "run", config=pdiff.Config.build(settings=FEW))
    models = pdiff.generate(run, n=3, out=tmp_path / "generated")
    results = pdiff.evaluate(models, baselines_n=2, replicates=2)
    assert results is not None
    assert results.task.name == "mine"
    assert "my_task.py:Mine network" in (tmp_path / "generated" / "README.md").read_text()


def test_what_is_printed_is_the_file() -> None:
    for kind in ("tensors", "dataset"):
        file = resources.files("pdiff").joinpath("tasks", "templates", f"{kind}.py")
        assert printed(kind) == file.read_text(encoding="utf-8")


def test_the_readme_shows_the_task_of_two_tensors() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert printed("tensors").partition("import torch\n")[2] in readme
