"""Aligned banks hold the same networks: permuted copies become one, functions and all else stay."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pdiff.alignment.align import align
from pdiff.alignment.groups import symmetries
from pdiff.alignment.members import Method
from pdiff.bank import Bank, collect
from pdiff.common.errors import InputError, UsageError
from pdiff.common.torch_rng import seeded
from pdiff.tasks import Classification, load_task
from pdiff.tasks.base import Split, Task
from pdiff.verification import verify
from tests.support import Said, bank_of
from tests.unit.alignment.banks import copies_bank, networks_bank, shuffled
from tests.unit.alignment.networks import BUILT_IN, SHAPES, Tied

METHODS: tuple[Method, ...] = get_args(Method)
MLP = load_task("mnist1d")


class Noise(Classification):
    """A built-in task's networks with inputs that need no files."""

    def __init__(self, of: str) -> None:
        self.name, self._task, self._shape = of, load_task(of), SHAPES[of]
        self.architectures = self._task.architectures

    def build(self, arch: str) -> nn.Module:
        return self._task.build(arch)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        return torch.randn(600, *self._shape, generator=torch.Generator().manual_seed(0)), torch.arange(
            600
        ) % 10


def outputs(bank: Bank, task: Task, arch: str, index: int, inputs: Tensor) -> Tensor:
    network = task.build(arch).eval()
    network.load_state_dict(bank.state_dict(torch.from_numpy(bank.gathered([index])[0])))
    with torch.no_grad():
        found: Tensor = network(inputs)
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "arch"), BUILT_IN)
def test_permuted_copies_become_the_first_bit_for_bit(
    name: str, arch: str, method: Method, tmp_path: Path
) -> None:
    task = Noise(name)
    inputs = task.data("train")[0][:50]
    groups = symmetries(task.build(arch), inputs[:2], arch).groups
    bank = copies_bank(tmp_path, task, arch, groups)
    before = bank.gathered(range(len(bank)))
    assert not (before[1:] == before[0]).all(axis=1).any()
    aligned = align(bank, out=tmp_path / "aligned", method=method, task=task, arch=arch, inputs=200)
    rows = aligned.gathered(range(len(bank)))
    np.testing.assert_array_equal(rows, np.broadcast_to(before[0], rows.shape))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "arch"), BUILT_IN)
def test_each_member_computes_what_it_did(name: str, arch: str, method: Method, tmp_path: Path) -> None:
    task = Noise(name)
    bank = networks_bank(tmp_path, task, arch)
    aligned = align(bank, out=tmp_path / "aligned", method=method, task=task, arch=arch, inputs=50)
    inputs = task.data("test")[0][:20]
    moved = (aligned.gathered([1, 2]) != bank.gathered([1, 2])).mean(axis=1)
    assert (moved > 0.5).all(), "independent networks are not left in their order"
    for index in range(len(bank)):
        ours, theirs = (outputs(each, task, arch, index, inputs) for each in (aligned, bank))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_silent_units_are_matched_by_their_weights(tmp_path: Path) -> None:
    bank = networks_bank(tmp_path, MLP, "mlp")
    groups = symmetries(MLP.build("mlp"), torch.randn(2, 40), "mlp").groups
    state = bank.state_dict(bank.batch([0])[0])
    state["fc1.bias"][:9] = -100.0  # never active, and alike in that
    (tmp_path / "silent").mkdir()
    row = bank.flatten(state).numpy()
    for index in range(4):
        moved = torch.from_numpy(shuffled(bank, groups, row, index))
        save_file(bank.state_dict(moved), tmp_path / f"silent/{index}.safetensors")
    silent = collect(tmp_path / "silent", out=tmp_path / "bank-of-silent")
    aligned = align(silent, out=tmp_path / "aligned", task=MLP, arch="mlp")
    rows = aligned.gathered(range(4))
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[0], rows.shape))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_rest_of_a_bank_stays(dtype: Any, tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts/config.json").write_text('{"hidden": 48}')
    for index in range(4):
        state = MLP.build("mlp").state_dict() | {"steps": torch.tensor(7)}
        save_file(state, tmp_path / f"ckpts/{index}.safetensors", {"accuracy": f"0.{index}1"})
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank", store_dtype=dtype, exclude_globs=["steps"])

    class Counting(Noise):
        def build(self, arch: str) -> nn.Module:
            network = super().build(arch)
            network.register_buffer("steps", torch.tensor(0))
            return network

    aligned = align(bank, out=tmp_path / "aligned", task=Counting("mnist1d"), arch="mlp", method="weights")
    assert (aligned.manifest.aligned, bank.manifest.aligned) == ("weights", "")
    for name in ("layout", "members", "source", "base", "dtype", "task", "kind", "tied", "fingerprint"):
        assert getattr(aligned.manifest, name) == getattr(bank.manifest, name), name
    assert aligned.companions() == bank.companions()
    assert verify(tmp_path / "aligned").bad == []
    assert int(aligned.state_dict(aligned.batch([0])[0])["steps"]) == 7
    for segment in bank.layout.segments:  # the very numbers, in another order
        ours, theirs = (
            np.sort(np.stack([each.row(index) for index in range(4)])[:, segment.begin : segment.end])
            for each in (aligned, bank)
        )
        np.testing.assert_array_equal(ours, theirs)


def test_the_statistics_are_those_of_the_aligned_rows(tmp_path: Path) -> None:
    bank = networks_bank(tmp_path, MLP, "mlp")
    said = Said()
    aligned = align(bank, out=tmp_path / "aligned", task=MLP, arch="mlp", method="weights", progress=said)
    rows = aligned.gathered(range(3)).astype(np.float64)
    np.testing.assert_allclose(aligned.statistics["element_mean"].numpy(), rows.mean(axis=0), rtol=1e-6)
    before, after = (
        float(np.linalg.norm(each.gathered(range(3)).astype(np.float64).std(axis=0)))
        for each in (bank, aligned)
    )
    assert after < before
    assert said[:2] == [
        "2 groups of 96 hidden units are aligned",
        f"aligned by weights: the members' RMS distance to their mean was {before:.4g}, it is {after:.4g}",
    ]


def test_an_aligned_bank_is_the_same_each_time_and_replaced_only_if_asked(tmp_path: Path) -> None:
    bank = networks_bank(tmp_path, MLP, "mlp")
    one = align(bank, out=tmp_path / "aligned", task=MLP, arch="mlp")
    with pytest.raises(UsageError, match="aligned: not empty; replace it with --overwrite"):
        align(bank, out=tmp_path / "aligned", task=MLP, arch="mlp")
    other = align(bank.path, out=tmp_path / "aligned", task="mnist1d", arch="mlp", overwrite=True)
    assert one.digest == other.digest


def test_units_that_the_rows_hold_in_part_stay(tmp_path: Path) -> None:
    networks_bank(tmp_path, MLP, "mlp")
    said = Said()
    part = collect(
        tmp_path / "ckpts",
        out=tmp_path / "part",
        select_globs=["fc1.*", "fc2.*"],
        base=tmp_path / "ckpts/0.safetensors",
    )
    aligned = align(part, out=tmp_path / "aligned", task=MLP, arch="mlp", progress=said)
    assert said[:2] == [
        "1 group of 48 hidden units is aligned",
        "1 group of hidden units stays as they are, since the bank's rows do not hold all their tensors; "
        "collect whole networks to align them",
    ]
    inputs = MLP.data("test")[0][:20]  # type: ignore[index]
    for index in range(3):
        ours, theirs = (outputs(each, MLP, "mlp", index, inputs) for each in (aligned, part))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class TiedTask(Noise):
    """Two hidden layers with the same weight; inputs of four numbers."""

    def build(self, arch: str) -> nn.Module:
        return Tied()

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, targets = super().data(split)
        return inputs[:, :4].contiguous(), targets % 2


def test_tied_tensors_are_permuted_under_whatever_name_the_rows_have_them(tmp_path: Path) -> None:
    task = TiedTask("mnist1d")
    (tmp_path / "ckpts").mkdir()
    for index in range(4):
        with seeded(index, "network"):
            state = task.build("tied").state_dict()
        torch.save({"again.weight": state.pop("again.weight"), **state}, tmp_path / f"ckpts/{index}.pth")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    assert bank.manifest.tied == {"square.weight": "again.weight"}
    aligned = align(bank, out=tmp_path / "aligned", task=task, method="weights")
    assert not (aligned.gathered([1, 2, 3]) == bank.gathered([1, 2, 3])).all(axis=1).any()
    inputs = task.data("test")[0][:20]
    for index in range(4):
        ours, theirs = (outputs(each, task, "tied", index, inputs) for each in (aligned, bank))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Positional(nn.Module):
    """Reads its hidden units where no recording sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(40, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.head(x) * float(self.first.bias.detach().numpy()[0])


class PositionalTask(Noise):
    def build(self, arch: str) -> nn.Module:
        return Positional()


def test_a_network_that_depends_on_the_order_is_refused(tmp_path: Path) -> None:
    task = PositionalTask("mnist1d")
    bank = networks_bank(tmp_path, task, "mlp")
    with pytest.raises(InputError, match="mnist1d mlp: its outputs depend on the order of its hidden units"):
        align(bank, out=tmp_path / "aligned", task=task, arch="mlp")
    assert not (tmp_path / "aligned").exists()


def test_what_cannot_be_aligned_is_said(tmp_path: Path) -> None:
    bank = networks_bank(tmp_path, MLP, "mlp")
    out = tmp_path / "aligned"
    with pytest.raises(UsageError, match=r"bank: the bank names no task; say which with --task NAME"):
        align(bank, out=out)
    with pytest.raises(UsageError, match="unknown method of alignment 'weight'; did you mean 'weights'"):
        align(bank, out=out, method="weight", task=MLP, arch="mlp")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="inputs is 1; expected 2 or more"):
        align(bank, out=out, task=MLP, arch="mlp", inputs=1)
    with pytest.raises(InputError, match="the network 'mnist1d convnet' does not take the checkpoints"):
        align(bank, out=out, task=MLP, arch="convnet")
    with pytest.raises(InputError, match="the network 'mnist1d mlp' does not take the checkpoints"):
        align(bank_of(torch.randn(4, 6), tmp_path), out=out, task=MLP, arch="mlp")
    heads = collect(
        tmp_path / "ckpts",
        out=tmp_path / "heads",
        select_globs=["head.*"],
        base=tmp_path / "ckpts/0.safetensors",
    )
    with pytest.raises(InputError, match="its rows hold no hidden units of mnist1d mlp whole"):
        align(heads, out=out, task=MLP, arch="mlp")
    assert not out.exists()


def test_an_aligned_bank_is_not_extended(tmp_path: Path) -> None:
    bank = networks_bank(tmp_path, MLP, "mlp")
    align(bank, out=tmp_path / "aligned", task=MLP, arch="mlp")
    (tmp_path / "new").mkdir()
    save_file(load_file(tmp_path / "ckpts/0.safetensors"), tmp_path / "new/0.safetensors")
    with pytest.raises(
        UsageError, match="its members are aligned; collect all checkpoints anew with --align"
    ):
        collect(tmp_path / "new", out=tmp_path / "aligned", extend=True)
