"""The command line: help without torch, one-line errors, exit codes, JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdiff.cli import cli

Pdiff = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pdiff(tmp_path: Path) -> Pdiff:
    """Run `python -m pdiff …` in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pdiff", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


def test_help_comes_without_torch(pdiff: Pdiff) -> None:
    code = (
        "import sys, runpy; sys.argv = ['pdiff', *{args!r}]\n"
        "try: runpy.run_module('pdiff', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy imports'"
    )
    for arguments in (["--help"], *([name, "--help"] for name in cli.list_commands(None))):  # type: ignore[arg-type]
        result = subprocess.run(
            [sys.executable, "-c", code.format(args=arguments)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert "Usage: pdiff" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["collect"], 3, "pdiff: ckpts: no such file or folder"),
        (["train"], 2, "pdiff: bank: no bank here (no bank.json); make one with `pdiff collect`"),
        (["generate"], 2, "pdiff: run: no run here (no run.json); make one with `pdiff train`"),
        (["evaluate"], 2, "pdiff: generated: no generated checkpoints here"),
        (["train", "--set", "train.lrr=1"], 2, "no key 'train.lrr'; did you mean 'train.lr'?"),
        (["zoo", "minst1d"], 2, "did you mean 'mnist1d'?"),
        (["zoo", "mnist1d", "--arch", "convnt"], 2, "convnt"),
        (["config", "papper"], 2, "no preset 'papper'; did you mean 'paper'?"),
    ],
)
def test_errors_are_one_line_with_the_cause_and_leave_nothing(
    pdiff: Pdiff, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = pdiff(*arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_command_is_suggested(pdiff: Pdiff) -> None:
    result = pdiff("colect")
    assert result.returncode == 2
    assert "did you mean 'collect'?" in result.stderr


def test_json_is_alone_on_stdout(pdiff: Pdiff, ckpts: Path) -> None:
    result = pdiff("collect", str(ckpts), "--out", "b", "--json")
    value = json.loads(result.stdout)
    assert (value["members"], value["dim"]) == (12, 21)
    assert "comparing their tensors" in result.stderr


def test_config_shows_a_preset_that_train_reads_back(pdiff: Pdiff, tmp_path: Path) -> None:
    shown = pdiff("config", "paper", "--set", "train.steps=3")
    assert 'kind = "conv"' in shown.stdout
    (tmp_path / "c.toml").write_text(shown.stdout)
    again = pdiff("config", "--config", "c.toml")
    assert again.stdout == shown.stdout
    assert pdiff("config", "--list").stdout.split() == ["default", "paper", "paper-full"]
