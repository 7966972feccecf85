"""Checkpoints with NaN or infinity are refused, or left out as if they were not there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff import _core
from pdiff.bank import Bank, collect, shards
from pdiff.common.errors import InputError
from tests.command import pdiff
from tests.killing import tree
from tests.support import MEMBERS, Said, checkpoint

WHY = 'tensor "layer.bias" holds NaN or infinity (1 of 3 values, as f32)'


def spoil(folder: Path, *indices: int, name: str = "layer.bias", value: float = torch.nan) -> None:
    """Put a value that is not finite into a tensor of members."""
    for index in indices:
        file = folder / f"step-{index}.safetensors"
        state = load_file(file)
        state[name].view(-1)[0] = value
        save_file(state, file, {"accuracy": f"0.{90 + index}"})


def without(folder: Path, *indices: int) -> Path:
    """Return a copy of the folder without some members; times are kept, since a journal would see them."""
    copy = shutil.copytree(folder, folder.parent / "without")
    for index in indices:
        (copy / f"step-{index}.safetensors").unlink()
    return copy


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_bank_is_that_of_the_folder_without_them(ckpts: Path, tmp_path: Path, value: float) -> None:
    """The first, from which the layout is read, the last, from which the rest is taken, and one between."""
    bad = (0, 5, MEMBERS - 1)
    spoil(ckpts, *bad, value=value)
    said = Said()
    bank = collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True, progress=said)
    assert [line for line in said if "left out" in line] == [
        f"left out step-{index}.safetensors: {WHY}" for index in bad
    ]
    assert len(set(said)) == len(said), "nothing is said twice"
    assert tree(bank.path) == tree(collect(without(ckpts, *bad), out=tmp_path / "other").path)


def test_the_refusal_names_file_tensor_count_and_option(ckpts: Path, tmp_path: Path) -> None:
    spoil(ckpts, 3)
    with pytest.raises(InputError) as caught:
        collect(ckpts, out=tmp_path / "bank")
    expected = f"step-3.safetensors: {WHY}; accepted: finite values; --skip-nonfinite leaves the file out"
    assert str(caught.value).endswith(expected)
    assert not (tmp_path / "bank").exists()


def test_what_only_a_checkpoint_left_out_varies_is_not_selected(ckpts: Path, tmp_path: Path) -> None:
    spoil(ckpts, 3, name="frozen.weight")
    bank = collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True)
    assert len(bank) == MEMBERS - 1
    assert "frozen.weight" not in bank.subset_names


def test_values_outside_the_selection_leave_nothing_out(ckpts: Path, tmp_path: Path) -> None:
    """Masks hold infinity, and are the same in all."""
    spoil(ckpts, *range(MEMBERS), name="frozen.weight", value=-torch.inf)
    assert len(collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True)) == MEMBERS


def test_a_checkpoint_left_out_may_differ_in_what_is_not_selected(ckpts: Path, tmp_path: Path) -> None:
    spoil(ckpts, 3, name="frozen.weight")
    spoil(ckpts, 3)
    bank = collect(ckpts, out=tmp_path / "bank", select_globs=["layer.*", "bn.*"], skip_nonfinite=True)
    assert len(bank) == MEMBERS - 1


def test_an_interrupted_collect_goes_on_to_the_same_bank(
    ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_SHARD_ROWS", 3)
    monkeypatch.setattr(shards, "_TOGETHER", 1)
    spoil(ckpts, 1, 4)
    write = _core.write_shards
    written: list[str] = []

    def failing(parts: Any, layout: _core.Layout, *, dtype: str) -> Any:
        names = [path.name for path, _ in parts]
        if len(written) == 2 and not resumed:
            raise KeyboardInterrupt
        written.extend(names)
        return write(parts, layout, dtype=dtype)

    monkeypatch.setattr(_core, "write_shards", failing)
    resumed = False
    with pytest.raises(KeyboardInterrupt, match="6 of 10 rows are written"):
        collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True)
    resumed = True
    bank = collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True, resume=True)
    assert written == [f"0000{number}.safetensors" for number in range(4)]
    assert tree(bank.path) == tree(collect(without(ckpts, 1, 4), out=tmp_path / "other").path)


def test_an_extension_leaves_them_out_too(bank: Bank, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for index in range(MEMBERS, MEMBERS + 3):
        save_file(checkpoint(index), more / f"step-{index}.safetensors")
    spoil(more, MEMBERS + 1)
    with pytest.raises(InputError, match="--skip-nonfinite leaves the file out"):
        collect(more, out=bank.path, extend=True)
    said = Said()
    extended = collect(more, out=bank.path, extend=True, skip_nonfinite=True, progress=said)
    assert f"left out step-{MEMBERS + 1}.safetensors: {WHY}" in said
    assert [m.source for m in extended.members[MEMBERS:]] == [
        f"step-{index}.safetensors" for index in (MEMBERS, MEMBERS + 2)
    ]


@pytest.mark.parametrize(
    ("left", "message"), [(0, "as does every other checkpoint; none is left"), (2, "2 ch")]
)
def test_too_few_that_are_finite_are_refused(ckpts: Path, tmp_path: Path, left: int, message: str) -> None:
    spoil(ckpts, *range(MEMBERS - left))
    with pytest.raises(InputError, match=message):
        collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True)
    assert list(tmp_path.iterdir()) == [ckpts]


def test_other_values_that_no_row_can_have_are_refused_all_the_same(ckpts: Path, tmp_path: Path) -> None:
    spoil(ckpts, 2, name="bn.running_var", value=-1.0)
    spoil(ckpts, 5)
    with pytest.raises(InputError, match=r"step-2.safetensors: .*running variance -1"):
        collect(ckpts, out=tmp_path / "bank", skip_nonfinite=True)


def test_many_are_counted(tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(80):
        state = checkpoint(index)
        if index % 4 == 1:
            state["layer.bias"][1] = torch.nan
        save_file(state, tmp_path / "ckpts" / f"step-{index}.safetensors")
    said = Said()
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank", skip_nonfinite=True, progress=said)
    assert len(bank) == 60
    assert "left out 10 more files" in said
    assert f"left out step-1.safetensors: {WHY}" in said


def test_the_command_has_the_option(ckpts: Path, tmp_path: Path) -> None:
    spoil(ckpts, 7)
    refused = pdiff(tmp_path, "collect")
    assert refused.returncode == 3
    assert refused.stderr.rstrip().endswith("--skip-nonfinite leaves the file out")
    assert pdiff(tmp_path, "collect", "--skip-nonfinite").returncode == 0
    assert len(Bank.open(tmp_path / "bank")) == MEMBERS - 1
