"""Collecting torch files: the same bank as from safetensors, choices reported, nothing executed."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.common.errors import InputError
from tests.command import pdiff
from tests.support import MEMBERS, checkpoint
from tests.unit.bank.test_collect import Said, refusal

State = dict[str, Tensor]


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Callable[[State, int], Any]], Path]:
    """Save `content(state dict, index)` of every member as a torch file: `save(content)` → the folder."""

    def write(content: Callable[[State, int], Any]) -> Path:
        folder = tmp_path / "pth"
        folder.mkdir()
        for index in range(MEMBERS):
            torch.save(content(checkpoint(index), index), folder / f"step-{index}.pth")
        return folder

    return write


def shifted(state: State) -> State:
    """Other weights of the same network."""
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def wrapped(state: State, _: int) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def nested(state: State, index: int) -> dict[str, Any]:
    return {"state_dict": state, "accuracy": 0.5, "epoch": index, "optimizer": {"state": {}}}


@pytest.mark.parametrize("content", [wrapped, nested])
def test_torch_files_give_the_same_bank_as_safetensors(
    save: Any, ckpts: Path, tmp_path: Path, content: Any
) -> None:
    expected, bank = collect(ckpts, out=tmp_path / "a"), collect(save(content), out=tmp_path / "b")
    assert [m.digest for m in bank.members] == [m.digest for m in expected.members]
    assert bank.manifest.kind == expected.manifest.kind
    rest = load_file(bank.path / "base.safetensors")
    assert rest.keys() == checkpoint(0).keys()
    if content is nested:
        assert bank.members[3].metrics == {"accuracy": 0.5, "epoch": 3.0}


def test_the_choice_among_several_sets_of_weights_is_said_and_can_be_made(
    save: Any, ckpts: Path, tmp_path: Path
) -> None:
    folder = save(lambda state, _: {"model": state, "ema": shifted(state)})
    said = Said()
    averaged = collect(folder, out=tmp_path / "a", progress=said)
    assert "step-0.pth: the weights of ema are taken, not model; choose with --key" in said
    expected = [member.digest for member in collect(ckpts, out=tmp_path / "b").members]
    assert expected != [member.digest for member in averaged.members]
    for number, options in enumerate(({"key": "model"}, {"ema": False})):
        said = Said()
        bank = collect(folder, out=tmp_path / f"c{number}", progress=said, **options)  # type: ignore[arg-type]
        assert [member.digest for member in bank.members] == expected
        assert "step-0.pth: the weights of model are taken, not ema; choose with --key" in said
    assert 'no weights under the key "net"' in refusal(folder, key="net")


def test_a_name_that_nobody_knows_is_said(save: Any, tmp_path: Path) -> None:
    said = Said()
    collect(save(lambda state, _: {"net_g": state, "iter": 5}), out=tmp_path / "a", progress=said)
    assert "step-0.pth: the weights are those of net_g, the only ones" in said


def test_weights_from_different_entries_are_not_mixed_silently(save: Any, tmp_path: Path) -> None:
    folder = save(lambda state, index: {"model" if index < 4 else "module": state})
    said = Said()
    collect(folder, out=tmp_path / "a", progress=said)
    message = "weights are taken from different entries: 8 of module, 4 of model; name one with --key"
    assert message in said


def test_averaged_weights_and_others_are_not_mixed_unasked(save: Any, tmp_path: Path) -> None:
    folder = save(lambda state, index: {"model": state} | ({"ema": shifted(state)} if index < 4 else {}))
    message = (
        "4 hold averaged (EMA) weights (like step-0.pth), 8 do not (like step-4.pth); "
        "say which with --ema, --no-ema or --key"
    )
    assert refusal(folder) == message
    assert len(collect(folder, out=tmp_path / "plain", ema=False)) == 12
    assert len(collect(folder, out=tmp_path / "averaged", ema=True)) == 4
    assert len(collect(folder, out=tmp_path / "by key", key="model")) == 12
    assert "no averaged (EMA) weights" in refusal(folder, ema=True, strict=True)
    message = "8 do not (like step-4.pth), those of the bank do; say which with --ema, --no-ema or --key"
    for index in range(4):
        (folder / f"step-{index}.pth").unlink()
    with pytest.raises(InputError) as caught:
        collect(folder, out=tmp_path / "averaged", extend=True)
    assert str(caught.value) == message


def test_wrappers_and_entries_that_are_no_tensors_are_said(save: Any, tmp_path: Path) -> None:
    said = Said()
    folder = save(lambda state, index: wrapped(state, index) | {"module._extra_state": None})
    collect(folder, out=tmp_path / "a", progress=said)
    assert "step-0.pth: prefix module. is taken off 6 names" in said
    assert any(line.startswith("step-0.pth: entries beside the weights are left out:") for line in said)
    assert any(
        "generated checkpoints will not have them, and load with strict=False only" in line for line in said
    )


def test_the_base_may_be_a_torch_file_too(save: Any, ckpts: Path, tmp_path: Path) -> None:
    folder = save(nested)
    for number, options in enumerate(({}, {"key": "state_dict"})):
        for source in (ckpts / "step-2.safetensors", folder / "step-2.pth"):
            bank = collect(
                folder,
                out=tmp_path / f"{number}{source.suffix}",
                base=source,
                exclude_globs=["layer.bias"],
                **options,  # type: ignore[arg-type]
            )
            assert torch.equal(bank.base["layer.bias"], checkpoint(2)["layer.bias"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.ones(2), "_orig_mod.a": torch.ones(2)}, "x.pth: "),
        ({"a": torch.ones(2, device="meta")}, "x.pth: "),
        ({"epoch": 3}, "x.pth: no weights found"),
        ([1, 2], "x.pth: no weights found"),
    ],
)
def test_odd_torch_files_are_refused_by_name(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "f").mkdir()
    torch.save(content, tmp_path / "f" / "x.pth")
    assert refusal(tmp_path / "f").startswith(message)


def test_a_torch_file_that_needs_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    (tmp_path / "f").mkdir()
    torch.save({"state_dict": Evil()}, tmp_path / "f" / "evil.pth")
    message = refusal(tmp_path / "f")
    assert message.startswith("evil.pth: ")
    assert "pdiff convert --i-trust-this-file" in message
    assert not canary.exists()


def test_the_way_out_of_a_folder_of_code_can_be_pasted(tmp_path: Path) -> None:
    """As Ultralytics saves: whole modules."""
    (tmp_path / "my runs").mkdir()
    for index in range(3):
        torch.save({"ema": torch.nn.Linear(2, 3), "epoch": index}, tmp_path / f"my runs/{index}.pt")
    refused = pdiff(tmp_path, "collect", "my runs")
    assert refused.returncode == 3
    convert, go_on = re.findall("`pdiff (.*?)`", refused.stderr)
    for typed in (convert, go_on):
        done = pdiff(tmp_path, *shlex.split(typed))
        assert done.returncode == 0, done.stderr
    assert len(Bank.open(tmp_path / "bank")) == 3


@pytest.mark.parametrize(("run", "expected"), [(3, 3), (1e300, 0), (-1, 0), (0.5, 0), (1e6, 0)])
def test_only_a_small_whole_number_is_the_number_of_a_run(
    save: Any, tmp_path: Path, run: float, expected: int
) -> None:
    bank = collect(save(lambda state, _: {"state_dict": state, "run": run}), out=tmp_path / "bank")
    assert bank.members[0].run == expected
    assert bank.members[0].metrics == ({} if expected else {"run": run})


def test_names_of_control_characters_are_said_in_one_short_line(save: Any, tmp_path: Path) -> None:
    evil = "x\n\x1b[31mpdiff: all fine" + "y" * 5000

    def content(state: State, index: int) -> Any:
        more = {evil: torch.full((2,), float(index)), "module\n.\x07": None}
        entries = {f"{number}{evil[:300]}": {"w": torch.ones(1)} for number in range(50)}
        return {"state_dict": state | more | ({"odd": torch.ones(1)} if index > 9 else {}), **entries}

    said = Said()
    folder = save(content)
    collect(folder, out=tmp_path / "a", progress=said, majority=True)
    for line in [*said, refusal(folder), refusal(folder, select_globs=["layer.*"], majority=True)]:
        assert line.isprintable()
        assert len(line) < 1200
    assert any("and 47 more" in line or "and 48 more" in line for line in said)
