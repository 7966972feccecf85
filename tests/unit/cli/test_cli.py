"""The command line: help without torch, one-line errors, exit codes, JSON."""

import json
import os
import pty
import re
import shlex
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

from pdiff.bank import Bank
from pdiff.cli import _interrupted, cli
from pdiff.cli.process import going_on
from pdiff.cli.process import typed as command_as_typed
from tests import command
from tests.forks import Forked
from tests.killing import finish
from tests.support import TINY

Pdiff = Callable[..., subprocess.CompletedProcess[str]]

SLOW = """
import sys, time
from pdiff.cli import main
from pdiff.training.trainer import Trainer
step = Trainer._one_step
def slow(trainer):
    time.sleep(0.03)
    return step(trainer)
Trainer._one_step = slow
sys.argv = ['pdiff', *sys.argv[1:]]
try:
    main()
finally:
    assert 'torch._dynamo' not in sys.modules, 'imports that take seconds'
"""
"""A training of 200 steps takes six seconds at least, so that a signal comes between two of them."""


OWN_TASK = """
import torch
from pdiff.tasks import Classification

class Own(Classification):
    name = "own"
    def data(self, split):
        return torch.zeros(5, 4), torch.zeros(5, dtype=torch.long)
    def build(self, arch):
        return torch.nn.Linear(4, 2)
"""


@pytest.fixture
def pdiff(tmp_path: Path) -> Pdiff:
    """Run `pdiff …` in an empty folder."""
    return partial(command.pdiff, tmp_path)


def test_help_comes_without_torch() -> None:
    code = (
        "import sys, runpy\n"
        "for name in sys.argv[1:]:\n"
        "    sys.argv = ['pdiff', *name.split(), '--help']\n"
        "    try: runpy.run_module('pdiff', run_name='__main__')\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "    assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy imports'"
    )
    names = ["", *cli.list_commands(None)]  # type: ignore[arg-type]
    arguments = [sys.executable, "-c", code, *names]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    usages = [line for line in result.stdout.splitlines() if line.startswith("Usage: pdiff")]
    assert [line.split()[2] for line in usages] == ["[OPTIONS]", *names[1:]]
    examples = [line for line in result.stdout.splitlines() if line.strip().startswith("Example: pdiff ")]
    assert [line.split()[2] for line in examples] == names[1:]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["collect"], 3, "pdiff: ckpts: no such file or folder"),
        (["train"], 2, "pdiff: bank: no bank here (no bank.json); make one with `pdiff collect`"),
        (["generate"], 2, "pdiff: run: no run here (no run.json); make one with `pdiff train`"),
        (["evaluate"], 2, "pdiff: generated: no such folder; `pdiff generate` makes one"),
        (["train", "--set", "train.lrr=1"], 2, "'train.lrr'; did you mean 'train.lr'?"),
        (["zoo", "minst1d"], 2, "did you mean 'mnist1d'?"),
        (["zoo", "mnist1d", "--arch", "convnt"], 2, "convnt"),
        (["train", "--set", "train.steps=abc"], 2, "train.steps is 'abc'; accepted: int >= 1"),
        (["verify", "nowhere"], 2, "pdiff: nowhere: no such file or folder"),
        (["collect", "--store-dtype", "F8"], 2, "'F8' is not one of 'f32', 'f16', 'bf16'"),
        (["train", "--generator", "gausian"], 2, "unknown generator 'gausian'; did you mean 'gaussian'?"),
        (
            ["train", "--generator", "latent", "--preset", "paper"],
            2,
            "choose one of --generator and --preset",
        ),
        (["generate", "--set", "scale=2"], 2, "say which with --generator"),
        (["generate", "--generator", "noise"], 2, "pdiff: bank: no bank here"),
        (["generate", "--temperature", "-1"], 2, "'--temperature': -1.0 is not in the range x>=0"),
        (["export", "nowhere"], 2, "pdiff: nowhere: neither a bank nor generated checkpoints"),
        (["export", "bank", "--members", "3-1"], 2, "--members 3-1: the range 3-1 is empty"),
        (["export", "bank", "--members", "a"], 2, "--members a: numbers and ranges of them are wanted"),
        (["collect", "--overwite"], 2, "no option '--overwite'; did you mean '--overwrite'? see `"),
        (["collect", "--xyzzy"], 2, "no option '--xyzzy'; see `"),
        (["config", "papper"], 2, "unknown preset 'papper'; did you mean 'paper'?"),
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


def test_folders_that_cannot_be_collected_are_refused_and_nothing_is_written(
    pdiff: Pdiff, tmp_path: Path
) -> None:
    for name in ("empty", "foreign", "mixed"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "model.safetensors").write_text("not one")
    for index in range(4):
        save_file({"w": torch.ones(2 + index // 3)}, tmp_path / "mixed" / f"{index}.safetensors")
    before = sorted(tmp_path.rglob("*"))
    for name, message in (
        ("empty", "pdiff: empty: no checkpoints that can be read (.safetensors"),
        ("foreign", "model.safetensors"),
        (
            "mixed",
            "3.safetensors holds w as F32 [3], not F32 [2]; collect them apart, or take the largest group",
        ),
    ):
        result = pdiff("collect", name)
        assert result.returncode == 3
        assert message in result.stderr.splitlines()[-1]
        assert [line.startswith("pdiff: ") for line in result.stderr.splitlines()].count(True) == 1
        assert sorted(tmp_path.rglob("*")) == before


def start(script: str, *arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("begin", "number", "code"),
    [(Forked, signal.SIGINT, 130), (start, signal.SIGTERM, 75), (Forked, signal.SIGUSR1, 75)],
    ids=["SIGINT", "SIGTERM", "SIGUSR1"],
)
def test_a_stopped_training_says_so_and_resumes(
    pdiff: Pdiff,
    bank: Bank,
    tmp_path: Path,
    *,
    begin: Callable[..., Any],
    number: signal.Signals,
    code: int,
) -> None:
    assert bank.path == tmp_path / "bank"
    settings = ["--set", "train.steps=200", "--set", "denoiser.width=8", "--set", "train.batch_size=4"]
    process = begin(SLOW, "train", *settings, cwd=tmp_path)
    while not (tmp_path / "run" / "latents.safetensors").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = finish(process)
    assert process.returncode == code, errors
    line = errors.splitlines()[-1]
    hint = line.partition("the state is saved, go on with `")[2].removesuffix("`")
    assert shlex.split(hint)[-3:] == ["--set", "train.batch_size=4", "--resume"], line
    assert "go on with `pdiff train --out run --resume`" in pdiff("generate").stderr
    pasted = shlex.split(hint)[1:]
    resumed = pdiff(*(pasted if number == signal.SIGINT else ["train", "--out", "run", "--resume"]))
    assert resumed.returncode == 0
    counts = re.findall(r"Training the denoiser: (\d+)/200 steps\b", resumed.stderr)
    assert int(counts[0]) > 0, "counted from where it was"
    assert counts[-1] == "200"
    assert len((tmp_path / "run" / "denoiser.metrics.jsonl").read_text().splitlines()) == 200


def test_damaged_records_are_one_line_not_a_traceback(pdiff: Pdiff, tmp_path: Path) -> None:
    for folder, name in (("run", "generate"), ("generated", "evaluate"), ("bank", "train")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.json").write_text("{}")
        result = pdiff(name)
        assert result.returncode == 3
        assert f"{folder}.json: damaged" in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["config"], ["doctor"], ["--help"]])
def test_an_output_that_is_full_is_named_once(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "pdiff", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "pdiff: standard output: No space left on device\n")


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True)])
def test_no_color_is_respected_on_a_terminal(value: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pdiff", "config", "papper"]
    subprocess.run(command, stderr=theirs, env={**os.environ, "NO_COLOR": value}, check=False)
    said = os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)
    assert b"unknown preset" in said
    assert (b"\x1b[" in said) == coloured


def test_errors_in_a_task_name_its_file_and_line(pdiff: Pdiff, tmp_path: Path) -> None:
    lines = OWN_TASK.splitlines()
    lines[-1] = "        return helper.undefined()"
    (tmp_path / "task_that_fails.py").write_text("\n".join(["import helper_that_fails as helper", *lines]))
    (tmp_path / "helper_that_fails.py").write_text("def undefined():\n    return missing_name\n")
    result = pdiff("zoo", "task_that_fails.py:Own", "--k", "3")
    what = "task own: build('network'): NameError: name 'missing_name' is not defined"
    assert result.stderr == f"pdiff: {what} ({tmp_path}/helper_that_fails.py:2)\n"
    assert result.returncode == 2


def test_without_a_command_the_help_is_all_that_is_printed(pdiff: Pdiff) -> None:
    assert (plain := pdiff("--help")).stdout.startswith("Usage: ")
    result = pdiff()
    assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, "")


def test_a_mistyped_command_is_suggested(pdiff: Pdiff) -> None:
    result = pdiff("colect")
    assert result.returncode == 2
    assert "did you mean 'collect'?" in result.stderr


def test_json_is_alone_on_stdout(pdiff: Pdiff, ckpts: Path) -> None:
    result = pdiff("collect", str(ckpts), "--out", "b", "--json")
    value = json.loads(result.stdout)
    assert (value["members"], value["dim"]) == (12, 21)
    assert "Comparing tensors: 11/11 checkpoint" in result.stderr


def test_config_shows_a_preset_that_train_reads_back(pdiff: Pdiff, tmp_path: Path) -> None:
    shown = pdiff("config", "paper", "--set", "train.steps=3")
    assert 'kind = "conv"' in shown.stdout
    (tmp_path / "c.toml").write_text(shown.stdout)
    again = pdiff("config", "--config", "c.toml")
    assert again.stdout == shown.stdout
    assert pdiff("config", "--list").stdout.split()[:3] == ["default", "paper", "paper-full"]


@pytest.mark.usefixtures("bank")
def test_a_self_test_says_what_was_learned_and_writes_nothing(pdiff: Pdiff, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    quick = ("--set", "train.steps=300", "--set", "train.lr=3e-3", "--set", "denoiser.width=64")
    said = pdiff("train", "--self-test", *quick).stdout
    assert said.startswith("Self-test passed: of 8 checkpoints the codec keeps")
    hardly = pdiff("train", "--self-test", "--set", "train.steps=1")
    assert hardly.returncode == 1
    assert "self-test failed" in hardly.stderr
    refused = pdiff("train", "--self-test", "--generator", "gaussian")
    assert refused.returncode == 2
    assert "not for gaussian" in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("bank")
def test_a_dry_run_says_what_it_can_and_writes_nothing(pdiff: Pdiff, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    codec = "  codec: 500 steps of 1,664,577 parameters, roughly "
    said = pdiff("train", "--preset", "paper", "--dry-run").stdout.splitlines()
    assert said[0] == "run: paper, of 12 checkpoints × 21 numbers"
    assert re.fullmatch(codec + r"[\d.,]+ s on this CPU \([\d.]+ s a step\), 32 MB of memory", said[1])
    assert re.match(r"  denoiser: 1,000 steps of 2,462,977 parameters, roughly .* 39 MB of memory", said[2])
    assert said[3] == "  17 MB on disk, four times as much while training"
    assert said[4] == "  `--preset default` takes about 30 s"
    value = json.loads(pdiff("train", "--dry-run", "--json", "--generator", "gaussian").stdout)
    assert value["config"]["generator"] == "gaussian"
    said = pdiff("generate", "--generator", "noise", "--n", "3", "--dry-run").stdout.splitlines()
    assert len(said) == 1
    assert re.fullmatch(r"generated: 3 checkpoints of noise, [\d.]+ kB", said[0])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["demo"], "go on with the last command above and --resume"),
        (["train", "my bank", "--overwrite"], "go on with `pdiff train 'my bank' --resume`"),
        (["train", "--resume"], "go on with `pdiff train --resume`"),
    ],
)
def test_what_goes_on_can_be_pasted(typed: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pdiff", *typed])
    assert going_on("interrupted; go on with --resume") == f"interrupted; {message}"


def test_an_interrupted_evaluation_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/pdiff", "evaluate", "--align"])
    same = "predictions are cached, so the same command goes on: `/somewhere/pdiff evaluate --align`"
    assert _interrupted("evaluate") == f"interrupted; {same}"
    assert _interrupted("generate") == "interrupted"
    monkeypatch.setattr(sys, "argv", ["x/__main__.py", "evaluate", "--no-cache"])
    assert _interrupted("evaluate") == "interrupted"
    assert command_as_typed("train").endswith(" -m pdiff train")


def test_a_read_only_folder_is_named_as_everywhere(
    pdiff: Pdiff, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.R_OK)
    result = pdiff("train", bank.path.name)
    assert result.returncode == 2
    assert result.stderr == f"pdiff: run: {bank.path.parent} is not writable; name another with --out\n"


def test_conditions_go_from_a_table_to_models(pdiff: Pdiff, ckpts: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in ckpts.iterdir())
    rows = [f"{name},{index},{'ab'[index % 2]}" for index, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["file,level,kind", *rows]))
    pdiff("collect", "--conditions", "t.csv", "--overwrite")
    tiny = [part for setting in TINY for part in ("--set", setting)]
    pdiff("train", *tiny, "--condition", "level,kind")
    asked = ("--condition", "level=3.5", "--condition", "kind=b", "--guidance", "2")
    value = json.loads(pdiff("generate", "--n", "1", *asked, "--json").stdout)
    assert 'sampler.guidance=2.0, condition=["level", "kind"]' in value["generator"]
    (tmp_path / "asked.jsonl").write_text('{"level": 1}\n{"level": 2}\n')
    many = ("--conditions", "asked.jsonl", "--condition", "kind=a", "--out", "many")
    assert pdiff("generate", "--n", "4", *many).returncode == 0
    info = json.loads((tmp_path / "many" / "generated.json").read_text())
    assert info["conditions"] == [{"level": 1.0, "kind": "a"}, {"level": 2.0, "kind": "a"}]
    direct = pdiff(
        "generate", "bank", "--generator", "conditional", *asked[:4], "--n", "1", "--out", "direct"
    )
    assert direct.returncode == 0
    refused = pdiff("generate", "--condition", "level", "--out", "no")
    assert (refused.returncode, refused.stderr) == (2, "pdiff: --condition level: expected NAME=VALUE\n")


def test_the_advice_of_a_codec_that_cannot_reconstruct_works(pdiff: Pdiff, bank: Bank) -> None:
    small = ["codec.train.steps=1", "codec.train.batch_size=4", "train.steps=2", "sampler.steps=3"]
    settings = [part for setting in small for part in ("--set", setting)]
    refused = pdiff("train", bank.path.name, "--preset", "paper", *settings, "--out", "my run")
    assert refused.returncode == 1
    advice = refused.stderr.splitlines()[-1].partition("or go on all the same: `pdiff ")[2].removesuffix("`")
    assert pdiff(*shlex.split(advice)).returncode == 0


def test_a_condition_that_members_lack_is_refused_before_anything_is_trained(
    pdiff: Pdiff, bank: Bank, tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        refused = pdiff("train", bank.path.name, "--condition", "nope", *more)
        assert (refused.returncode, "unknown condition 'nope'" in refused.stderr) == (2, True)
        assert not (tmp_path / "run").exists()


def test_a_model_card_says_how_to_draw_the_same_again(pdiff: Pdiff, ckpts: Path, tmp_path: Path) -> None:
    rows = [f"{path.name},{index}" for index, path in enumerate(sorted(ckpts.iterdir()))]
    (tmp_path / "t.csv").write_text("\n".join(["file,level", *rows]))
    pdiff("collect", "--conditions", "t.csv")
    tiny = [part for setting in TINY for part in ("--set", setting)]
    pdiff("train", *tiny, "--condition", "level")
    drawn = ("--temperature", "0.5", "--sampler", "heun", "--steps", "20", "--condition", "level=3")
    direct = ("bank", "--generator", "conditional", "--condition", "level=3")
    for name, options in (("a", drawn), ("b", direct)):
        assert pdiff("generate", *options, "--n", "2", "--out", name).returncode == 0
        card = (tmp_path / name / "README.md").read_text()
        (command_,) = re.findall(r"pdiff (generate .*-again)", card)
        assert command.pdiff(tmp_path / name, *shlex.split(command_)).returncode == 0
        for file in sorted((tmp_path / name).glob("*.safetensors")):
            assert (tmp_path / f"{name}-again" / file.name).read_bytes() == file.read_bytes()
