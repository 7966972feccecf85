"""`pdiff convert` as it is typed."""

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from pdiff.cli import cli
from pdiff.common.errors import UsageError
from tests import forks
from tests.support import checkpoint


def test_a_plain_file_is_converted_and_it_is_said_that_nothing_ran(tmp_path: Path) -> None:
    file, out = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    save_file(checkpoint(0), file)
    result = CliRunner().invoke(cli, ["convert", str(file), "--out", str(out)], standalone_mode=False)
    assert result.exit_code == 0, result.output
    size = out.stat().st_size
    assert result.stdout == (
        f"{out}: 6 tensors, {size:,} bytes; {file} was read as plain data, no code was run\n"
    )
    assert load_file(out).keys() == checkpoint(0).keys()


def test_code_is_run_only_if_the_file_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdiff.checkpoints.conversion.subprocess.run", forks.convert)
    file, out, canary = tmp_path / "x.pt", tmp_path / "y.safetensors", tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(canary),))

    torch.save({"state_dict": torch.nn.Linear(2, 1), "extra": Evil()}, file)
    arguments = ["convert", str(file), "--out", str(out), "--json"]
    with pytest.raises(UsageError, match="runs code from the file"):
        CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    assert not canary.exists()
    result = CliRunner().invoke(cli, [*arguments, "--i-trust-this-file"], standalone_mode=False)
    assert json.loads(result.stdout) == {
        "out": str(out),
        "read": "by running it",
        "key": "state_dict",
        "tensors": 2,
        "bytes": out.stat().st_size,
    }
    assert canary.exists()


def test_the_output_must_be_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["convert", str(tmp_path / "x.pt")])
    assert result.exit_code == 2
    assert "--out" in result.stderr
