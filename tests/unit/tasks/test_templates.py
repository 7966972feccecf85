"""The tasks that `pdiff task --template` prints run as they are, the whole way."""

from pathlib import Path

import pytest

from tests.command import pdiff

FEW = ["--set", "train.steps=3", "--set", "codec.latent_dim=4"]


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_a_printed_task_trains_and_judges_networks(kind: str, tmp_path: Path) -> None:
    printed = pdiff(tmp_path, "task", "--template", "--kind", kind)
    (tmp_path / "my_task.py").write_text(printed.stdout)
    for arguments in (
        ("zoo", "my_task.py:Mine", "--k", "5", "--epochs", "1"),
        ("collect",),
        ("train", *FEW),
        ("generate", "--n", "3"),
        ("evaluate", "--task", "my_task.py:Mine", "--baselines-n", "2"),
    ):
        done = pdiff(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    assert "my_task.py:Mine network" in (tmp_path / "generated" / "README.md").read_text()


def test_the_readme_shows_the_task_of_two_tensors(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    printed = pdiff(tmp_path, "task", "--template").stdout
    code = printed.partition("import torch\n")[2]
    assert code in readme
