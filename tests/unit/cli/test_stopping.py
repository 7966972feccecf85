"""Commands that are stopped from outside, and `pdiff verify`'s exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pdiff.bank import Bank, collect, shards
from pdiff.training import Run
from tests.command import pdiff
from tests.forks import Forked
from tests.killing import finish, tree
from tests.support import MEMBERS, checkpoint

SLOW = """
import sys, time
from pdiff import _core
from pdiff.bank import shards
from pdiff.cli import main
shards._SHARD_ROWS, shards._TOGETHER = 2, 1
def slow(write):
    def call(*arguments, **options):
        time.sleep(0.3)
        return write(*arguments, **options)
    return call
_core.write_shards, _core.write_file = slow(_core.write_shards), slow(_core.write_file)
sys.argv = ['pdiff', *sys.argv[1:]]
main()
"""


def start(*arguments: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, *arguments], cwd=cwd, stderr=subprocess.PIPE, text=True)


def stop(
    process: "subprocess.Popen[str] | Forked", ready: Callable[[], object], number: int = signal.SIGTERM
) -> tuple[int | None, list[str]]:
    """Send a process a signal as soon as it is `ready`; return its exit code and the lines of its stderr."""
    while not ready():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = finish(process)
    return process.returncode, errors.splitlines()


@pytest.mark.parametrize(
    ("begin", "number", "code"),
    [(partial(start, "-c"), signal.SIGINT, 130), (Forked, signal.SIGTERM, 143)],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_stopped_collect_says_how_to_go_on(
    ckpts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    begin: Callable[..., Any],
    number: signal.Signals,
    code: int,
) -> None:
    process = begin(SLOW, "collect", ckpts, cwd=tmp_path)
    stopped, errors = stop(process, lambda: list(tmp_path.glob(".bank.staged-*/progress.jsonl")), number)
    assert stopped == code
    assert errors[-1].startswith("pdiff: interrupted: ")
    hint = f"pdiff collect {ckpts} --resume"
    assert errors[-1].endswith(f" of 12 rows are written; go on with `{hint}`")
    assert "".join(errors).count("pdiff:") == 1
    monkeypatch.setattr(shards, "_SHARD_ROWS", 2)
    monkeypatch.setattr(shards, "_TOGETHER", 1)
    assert pdiff(tmp_path, "collect", str(ckpts), "--resume").returncode == 0
    assert len(Bank.open(tmp_path / "bank")) == MEMBERS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "ckpts"]


def test_a_collect_stopped_before_anything_is_written_leaves_nothing(ckpts: Path, tmp_path: Path) -> None:
    process = Forked(SLOW, "collect", ckpts, cwd=tmp_path)
    code, errors = stop(process, lambda: list(tmp_path.glob(".bank.staged-*")))
    assert (code, errors[-1]) == (143, "pdiff: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["ckpts"]


def test_a_stopped_generate_leaves_nothing(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run()
    before = sorted(tmp_path.iterdir())
    process = Forked(SLOW, "generate", run.path, "--n", "40", cwd=tmp_path)
    code, errors = stop(process, lambda: list(tmp_path.glob(".generated.staged-*/model-0001*")))
    assert (code, errors[-1]) == (143, "pdiff: interrupted")
    assert sorted(tmp_path.iterdir()) == before


def test_an_extension_is_a_command(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    save_file(checkpoint(40), tmp_path / "more" / "x.safetensors")
    result = pdiff(tmp_path, "collect", "more", "--extend", "--json")
    assert json.loads(result.stdout)["members"] == MEMBERS + 1
    assert "1 new checkpoint, 0 are in the bank already" in result.stderr


def test_verify_says_so_and_exits_with_3_if_anything_differs(bank: Bank, ckpts: Path, tmp_path: Path) -> None:
    collect(ckpts, out=tmp_path / "other")
    result = pdiff(tmp_path, "verify", "bank", "other")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{name}: 4 files, {result.stdout.split(', ')[1]}, all as written" for name in ("bank", "other")
    ]
    (tmp_path / "other" / "base.safetensors").unlink()
    result = pdiff(tmp_path, "verify", "bank", "other")
    assert result.returncode == 3
    assert result.stdout.splitlines()[1:] == ["other: base.safetensors: missing"]
    value = json.loads(pdiff(tmp_path, "verify", "bank", "other", "--json").stdout)
    assert value["whole"] is False
    assert [each["bad"] for each in value["directories"]] == [[], ["base.safetensors: missing"]]
    result = pdiff(tmp_path, "verify", "ckpts")
    assert result.returncode == 2
    assert "nothing that pdiff can verify" in result.stderr
    assert tree(bank.path)


def test_a_stopped_convert_stops_the_process_that_loads_the_file(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(100)"

    class Sleeper:
        def __reduce__(self) -> tuple[object, ...]:
            return (exec, (code,))

    torch.save(Sleeper(), tmp_path / "x.pt")
    command = ["convert", "x.pt", "--out", "y.safetensors", "--i-trust-this-file"]
    process = start("-m", "pdiff", *command, cwd=tmp_path)
    stopped, errors = stop(process, lambda: told.exists() and told.read_text())
    assert (stopped, errors[-1]) == (143, "pdiff: interrupted")
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pid", "x.pt"]
