"""What `pip install pdiff-nn` alone is good for: every command but those named here runs without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pdiff.cli import cli

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "scipy", "matplotlib", "jinja2", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
"""An environment with what `[project] dependencies` names and no more."""

NEEDS_TORCH = {
    "demo": [],
    "zoo": ["mnist1d", "--out", "new"],
    "train": ["bank"],
    "reproduce": ["small"],
    "ablate": ["k"],
    "generate": ["bank", "--generator", "gaussian"],
    "evaluate": ["ckpts", "--bank", "bank", "--task", "mnist1d"],
    "report": ["evaluation"],
}
NEEDS_NONE = {"inspect", "collect", "average", "export", "verify", "convert", "task", "doctor", "config"}
COUNT = 20


def script(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", BLOCKED + code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


ALL = """
import io, json
from contextlib import redirect_stderr, redirect_stdout
from pdiff.cli import main

done = []
for sys.argv in COMMANDS:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    done.append((sys.argv[1:], code, out.getvalue(), errors.getvalue()))
print(json.dumps(done))
"""


def pdiff(folder: Path, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands, one after the other in one process."""
    done = script(ALL.replace("COMMANDS", repr([["pdiff", *words] for words in commands])), folder)
    assert done.returncode == 0, done.stderr
    return [subprocess.CompletedProcess(*each) for each in json.loads(done.stdout)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ckpts").mkdir()
    for index in range(COUNT):
        numbers = np.random.default_rng(index).normal(size=(4, 6)).astype(np.float32)
        state = {"w": 3 + numbers, "h": numbers[0].astype(np.float16), "n": np.array(7)}
        save_file(state, tmp_path / f"ckpts/{index}.safetensors")
    return tmp_path


def test_every_command_is_on_one_of_the_lists() -> None:
    assert NEEDS_NONE | NEEDS_TORCH.keys() == set(cli.list_commands(None))  # type: ignore[arg-type]


def test_a_folder_is_inspected_collected_verified_averaged_and_exported(folder: Path) -> None:
    commands = (
        ["--help"],
        *([name, "--help"] for name in NEEDS_NONE),
        ["inspect", "ckpts", "--deep"],
        ["collect", "ckpts"],
        ["average", "ckpts"],
        ["average", "bank", "--weights", "ema:0.9", "--out", "other"],
        ["export", "bank", "--members", "0,7"],
        ["verify", "bank", "exported"],
        ["convert", "ckpts/3.safetensors", "--out", "3.safetensors"],
        ["config", "paper"],
    )
    for done in pdiff(folder, *commands):
        assert done.returncode == 0, (done.args, done.stderr)
    states = [load_file(folder / f"ckpts/{index}.safetensors") for index in range(COUNT)]
    average = load_file(folder / "average/average.safetensors")
    for name, dtype in (("w", np.float32), ("h", np.float16)):
        mean = np.mean([state[name].astype(np.float64) for state in states], axis=0)
        np.testing.assert_array_equal(average[name], mean.astype(np.float32).astype(dtype))
    assert average["n"] == 7
    assert json.loads((folder / "average/average.json").read_text())["scores"] is None
    sources = [member["source"] for member in json.loads((folder / "bank/bank.json").read_text())["members"]]
    exported = load_file(folder / "exported/member-0007.safetensors")
    for name, values in load_file(folder / "ckpts" / sources[7]).items():
        np.testing.assert_array_equal(exported[name], values)


def test_what_needs_torch_says_so_in_one_line(folder: Path) -> None:
    commands = [[command, *arguments] for command, arguments in NEEDS_TORCH.items()]
    collected, *refused = pdiff(folder, ["collect", "ckpts"], *commands)
    assert collected.returncode == 0, collected.stderr
    for command, done in zip(NEEDS_TORCH, refused, strict=True):
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        lacking = "jinja2" if command == "report" else "torch"
        needs = f"pdiff {command} needs {lacking}, which is not installed"
        assert done.stderr == f"pdiff: {needs}: pip install 'pdiff-nn[torch]'\n"


def test_a_format_that_torch_writes_and_a_task_are_asked_for_torch_before_the_work(folder: Path) -> None:
    collected, *refused = pdiff(
        folder,
        ["collect", "ckpts"],
        ["average", "ckpts", "--task", "mnist1d"],
        ["average", "ckpts", "--format", "pth"],
        ["export", "bank", "--format", "pth"],
        ["collect", "ckpts", "--out", "aligned", "--align"],
    )
    assert collected.returncode == 0, collected.stderr
    for done in refused:
        assert done.returncode == 2, (done.args, done.stderr)
        assert "needs torch, which is not installed" in done.stderr.splitlines()[-1]
        assert "Averaging" not in done.stderr
    assert {path.name for path in folder.iterdir()} == {"ckpts", "bank"}


def test_what_cannot_work_is_refused_before_torch_is_loaded(folder: Path) -> None:
    (done,) = pdiff(folder, ["collect", "ckpts"])
    assert done.returncode == 0, done.stderr
    for name in ("run", "generated", "evaluation", "pdiff-demo"):
        (folder / name).mkdir()
        (folder / name / "mine.txt").touch()
    refusals = [
        (["train", "bank"], "run: not empty; use --resume or --overwrite, or name another with --out"),
        (["train", "bank", "--overwrite"], "run: holds no run.json, so --overwrite will not"),
        (["train", "nothere"], "nothere: no bank here"),
        (["train", "--set", "trian.steps=3"], "unknown key 'trian'; did you mean 'train'?"),
        (["train", "--preset", "papr"], "unknown preset 'papr'; did you mean 'paper'?"),
        (["train", "--config", "no.toml"], "no.toml: no such file"),
        (["generate", "nothere"], "nothere: no run here"),
        (["generate", "bank", "--sampler", "ddim"], "bank: a bank; --sampler and its steps"),
        (["generate", "bank", "--generator", "noise"], "generated: not empty; replace it with --overwrite"),
        (["evaluate", "nothere"], "nothere: no such folder; `pdiff generate` makes one"),
        (["evaluate", "ckpts"], "ckpts: not written by `pdiff generate`; say of which bank they are"),
        (["evaluate", "ckpts", "--bank", "bank"], "evaluation: not empty; replace it with --overwrite"),
        (["evaluate", "ckpts", "--bank", "bank", "--out", "new"], "bank: the bank names no task; say which"),
        (["zoo", "mnist1d"], "ckpts: not empty; replace it with --overwrite"),
        (["demo"], "pdiff-demo: not empty; replace it with --overwrite"),
        (["collect", "nothere"], "nothere: no such file or folder"),
        (["average", "nothere"], "nothere: no such file or folder"),
        (["inspect", "nothere"], "nothere: no such file or folder"),
    ]
    for done, (_, message) in zip(pdiff(folder, *(words for words, _ in refusals)), refusals, strict=True):
        assert done.returncode in (2, 3), done.args
        (line,) = done.stderr.splitlines()
        assert message in line


def test_the_doctor_warns_of_a_missing_torch_and_fails_nothing(folder: Path) -> None:
    (done,) = pdiff(folder, ["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["torch"]["status"] == "warn"
    assert "pip install 'pdiff-nn[torch]'" in checks["torch"]["detail"]
    assert done.returncode == 0


def test_banks_open_from_python_and_what_needs_torch_is_a_usage_error(folder: Path) -> None:
    code = """
import numpy as np, pdiff
bank = pdiff.collect("ckpts", out="bank")
assert len(pdiff.Bank.open("bank")) == len(bank) == 20
rows = bank.gathered([3, 1], bank.normalizer("element"))
assert rows.shape == (2, bank.dim) and abs(bank.gathered(range(20), bank.normalizer("element")).mean()) < 1e-6
assert set(bank.complete(bank.gathered([0])[0])) == {"w", "h", "n"}
for name in ("train", "generate", "evaluate"):
    try:
        getattr(pdiff, name)
    except pdiff.UsageError as error:
        assert str(error).startswith(f"pdiff.{name} needs torch"), error
    else:
        raise AssertionError(name)
"""
    done = script(code, folder)
    assert done.returncode == 0, done.stderr
