"""`pdiff collect --align`: an ordinary bank whose members' hidden units are in one order."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import nn

from pdiff.bank import Bank
from pdiff.bank.manifest import TaskRef
from pdiff.common.artifacts import write_json
from pdiff.common.torch_rng import seeded
from pdiff.tasks import load_task
from tests import command
from tests.unit.alignment.banks import state_of

Pdiff = Callable[..., CompletedProcess[str]]
MEMBERS = 4


@pytest.fixture
def pdiff(tmp_path: Path) -> Pdiff:
    """Run `pdiff …` in a folder with checkpoints of independent networks in `ckpts`."""
    (tmp_path / "ckpts").mkdir()
    for index in range(MEMBERS):
        save_file(state_of(load_task("digits"), "mlp", index), tmp_path / f"ckpts/{index}.safetensors")
    return partial(command.pdiff, tmp_path)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["--align"], "activations"),
        (["--align=activations"], "activations"),
        (["--align", "weights"], "weights"),
    ],
)
def test_the_task_beside_the_checkpoints_is_taken(
    words: list[str], method: str, pdiff: Pdiff, tmp_path: Path
) -> None:
    write_json(tmp_path / "ckpts/task.json", TaskRef("digits", "mlp"))
    assert pdiff("collect", "--out", "plain").returncode == 0
    done = pdiff("collect", "ckpts", *words)
    assert done.returncode == 0, done.stderr
    assert "2 groups of 64 hidden units are aligned\n" in done.stderr
    assert f"aligned by {method}: the members' RMS distance to their mean was " in done.stderr
    assert "Unaligned weights" not in done.stderr
    assert "Aligned, and still apart: the members look like 4 independent runs" in done.stderr
    assert done.stdout == "bank: 4 checkpoints × 3,466 numbers in 6 tensors\n"
    plain, aligned = Bank.open(tmp_path / "plain"), Bank.open(tmp_path / "bank")
    assert aligned.manifest.aligned == method
    assert aligned.task == TaskRef("digits", "mlp")
    assert not (aligned.gathered([1, 2, 3]) == plain.gathered([1, 2, 3])).all(axis=1).any()
    for index in range(MEMBERS):
        np.testing.assert_array_equal(
            *(np.sort(bank.gathered([index])[0]) for bank in (plain, aligned)), "the same numbers"
        )
    assert {path.name for path in tmp_path.iterdir()} == {"ckpts", "plain", "bank"}


def test_task_and_architecture_can_be_named(pdiff: Pdiff, tmp_path: Path) -> None:
    named = ["--task", "digits", "--arch", "mlp", "--out", "new/bank"]
    done = pdiff("collect", "--align", "weights", *named, "--json")
    assert done.returncode == 0, done.stderr
    assert Bank.open(tmp_path / "new/bank").manifest.aligned == "weights"
    assert pdiff("verify", "new/bank").returncode == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bank"], "and nothing beside it"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--align"], 2, "the bank names no task; say which with --task NAME or FILE.py:NAME"),
        (["--align", "--task", "digits"], 3, "the network 'digits convnet' does not take the checkpoints"),
        (["--align=weight"], 2, "'weight' is not one of 'activations', 'weights'"),
        (["--task", "digits"], 2, "--task: only where --align runs the network of a task"),
        (["--data-root", "."], 2, "--data-root: only where --align runs the network of a task"),
        (["--align", "--extend"], 2, "--align looks at all members at once, and goes without --extend"),
        (["--align", "--resume"], 2, "--align looks at all members at once, and goes without --extend"),
        (["--align", "--out", "ckpts"], 2, "ckpts: not empty; replace it with --overwrite"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], code: int, message: str, pdiff: Pdiff, tmp_path: Path
) -> None:
    done = pdiff("collect", *words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"ckpts"}


def test_lora_adapters_of_peft_need_no_task(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    for index in range(MEMBERS):
        with seeded(index, "adapter"):
            model = peft.get_peft_model(
                nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)),
                peft.LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False),
            )
        model.save_pretrained(tmp_path / f"ckpts/step-{index}")
    done = command.pdiff(tmp_path, "collect", "--align", "lora")
    assert done.returncode == 0, done.stderr
    assert "2 pairs of LoRA factors are aligned\n" in done.stderr
    assert Bank.open(tmp_path / "bank").manifest.aligned == "lora"
    average = ["--generator", "average", "--n", "1", "--format", "source"]
    assert command.pdiff(tmp_path, "generate", "bank", *average).returncode == 0
    (found,) = (path.parent for path in (tmp_path / "generated").rglob("adapter_config.json"))
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
    loaded = peft.PeftModel.from_pretrained(network, str(found)).state_dict()
    rows = Bank.open(tmp_path / "bank").gathered(range(MEMBERS))
    numbers = np.concatenate([each.numpy().ravel() for name, each in loaded.items() if "lora_" in name])
    np.testing.assert_allclose(np.sort(numbers), np.sort(rows.mean(axis=0)), atol=1e-6)
    refused = command.pdiff(tmp_path, "collect", "--align", "lora", "--task", "digits", "--out", "other")
    assert refused.returncode == 2
    assert "--task: only where --align runs the network of a task" in refused.stderr
