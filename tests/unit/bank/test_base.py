"""A base that holds more than the checkpoints do: they are the subset, and whole networks come out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pdiff.bank import Bank, collect
from pdiff.common.config import GaussianConfig
from pdiff.common.errors import InputError
from pdiff.generation.sample import generate
from tests.support import Said


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def parts(index: int, *, constant: bool = False) -> dict[str, Tensor]:
    """The two tensors of the last norm, as the paper's own code saves them."""
    generator = torch.Generator().manual_seed(0 if constant else index)
    return {
        "1.weight": torch.rand(3, generator=torch.Generator().manual_seed(index)),
        "1.bias": torch.rand(3, generator=generator),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`pretrained.pth` beside a folder of subset files."""
    (tmp_path / "ckpts/checkpoint").mkdir(parents=True)
    torch.save(network().state_dict(), tmp_path / "ckpts/pretrained.pth")
    for index in range(6):
        torch.save(parts(index), tmp_path / f"ckpts/checkpoint/{index:04d}_acc0.9{index}_x.pth")
    return tmp_path / "ckpts"


@pytest.mark.parametrize("root", ["", "checkpoint"])
@pytest.mark.parametrize("form", ["safetensors", "source"])
def test_a_whole_base_completes_subset_files(folder: Path, tmp_path: Path, root: str, form: str) -> None:
    bank = collect(folder / root, out=tmp_path / "bank", base=folder / "pretrained.pth")
    assert {segment.name for segment in bank.layout.segments} == {"1.weight", "1.bias"}
    assert len(bank) == 6
    for index in range(6):
        state = bank.state_dict(bank.batch([index])[0])
        network().load_state_dict(state)
        assert all(torch.equal(state[name], tensor) for name, tensor in parts(index).items())
        assert torch.equal(state["0.weight"], network().state_dict()["0.weight"])
    made = generate(
        Bank.open(bank.path), config=GaussianConfig(name="gaussian"), n=2, out=tmp_path / "g", format=form
    )
    for state in made:
        network().load_state_dict(state)


def test_what_the_files_hold_is_the_selection(folder: Path, tmp_path: Path) -> None:
    for index in range(6):
        torch.save(parts(index, constant=True), next((folder / "checkpoint").glob(f"000{index}*")))
    bank = collect(folder / "checkpoint", out=tmp_path / "bank", base=folder / "pretrained.pth")
    assert {segment.name for segment in bank.layout.segments} == {"1.weight", "1.bias"}
    state = bank.state_dict(bank.batch([2])[0])
    assert torch.equal(state["1.bias"], parts(0, constant=True)["1.bias"]), "the files' own, not the base's"


def test_an_extension_takes_more_subset_files(folder: Path, tmp_path: Path) -> None:
    collect(folder / "checkpoint", out=tmp_path / "bank", base=folder / "pretrained.pth")
    (tmp_path / "more").mkdir()
    save_file(parts(7), tmp_path / "more/7.safetensors")
    assert len(collect(tmp_path / "more", out=tmp_path / "bank", extend=True)) == 7


def test_the_one_whole_network_beside_its_parts_is_the_base(folder: Path, tmp_path: Path) -> None:
    said = Said()
    found = collect(folder, out=tmp_path / "found", progress=said)
    given = collect(folder, out=tmp_path / "given", base=folder / "pretrained.pth")
    assert found.digest == given.digest
    (line,) = [line for line in said if "pretrained.pth" in line]
    assert line == (
        f"{folder}/pretrained.pth is the whole network, 9 tensors, and is taken as the base (another: "
        "--base; none: --majority); the checkpoints hold 2 tensors of it"
    )
    alone = collect(folder, out=tmp_path / "alone", majority=True)
    assert set(alone.base) == {"1.weight", "1.bias"}


def test_the_base_is_found_beside_checkpoints_that_are_not_finite(folder: Path, tmp_path: Path) -> None:
    bad = parts(9) | {"1.bias": torch.full((3,), torch.nan)}
    torch.save(bad, folder / "checkpoint/0009_acc0.99_x.pth")
    bank = collect(folder, out=tmp_path / "bank", skip_nonfinite=True)
    assert (len(bank), len(bank.base)) == (6, len(network().state_dict()))


def test_of_two_whole_networks_one_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    second = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    torch.save(second, folder / "second.pth")
    with pytest.raises(InputError, match=r"name the file that all else is taken from with --base, or take"):
        collect(folder, out=tmp_path / "bank")
    said = Said()
    bank = collect(folder, out=tmp_path / "bank", base=folder / "second.pth", progress=said)
    assert len(bank) == 6
    assert torch.equal(bank.base["0.weight"], second["0.weight"])
    assert f"left out pretrained.pth: a whole network, and {folder}/second.pth is the base" in said


@pytest.mark.parametrize("change", ["shape", "dtype", "lacking"])
def test_a_network_of_which_the_checkpoints_are_no_part_is_no_base(
    folder: Path, tmp_path: Path, change: str
) -> None:
    state = network().state_dict()
    if change == "lacking":
        del state["1.bias"]
    else:
        state["1.bias"] = torch.zeros(4) if change == "shape" else state["1.bias"].double()
    torch.save(state, folder / "pretrained.pth")
    with pytest.raises(InputError, match=r"2 kinds of checkpoint: 6 like .*; collect them apart, or"):
        collect(folder, out=tmp_path / "bank")


def test_a_base_that_is_given_wins(folder: Path, tmp_path: Path) -> None:
    own = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    torch.save(own, tmp_path / "own.pth")
    bank = collect(folder, out=tmp_path / "bank", base=tmp_path / "own.pth")
    assert len(bank) == 6
    assert torch.equal(bank.base["0.weight"], own["0.weight"])


@pytest.mark.parametrize("given", [False, True])
def test_a_base_among_what_extends_a_bank_is_no_member(folder: Path, tmp_path: Path, given: bool) -> None:
    collect(folder, out=tmp_path / "bank")
    torch.save(parts(7), folder / "checkpoint/0007_acc0.97_x.pth")
    base = folder / "pretrained.pth" if given else None
    bank = collect(folder, out=tmp_path / "bank", base=base, extend=True)
    assert [member.source for member in bank.members][6:] == ["checkpoint/0007_acc0.97_x.pth"]
    other = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    torch.save(other, folder / "pretrained.pth")
    with pytest.raises(InputError, match=r"pretrained.pth: 0.bias differs from the bank's"):
        collect(folder, out=tmp_path / "bank", base=base, extend=True)


def test_a_base_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    state = network().state_dict()
    del state["1.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other.pth lacks 1.bias; --base must be of the same network"):
        collect(folder / "checkpoint", out=tmp_path / "bank", base=tmp_path / "other.pth")
