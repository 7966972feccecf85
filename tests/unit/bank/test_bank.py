"""Reading a bank back: the safetensors library, views, batches, state dicts, damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pdiff.bank import Bank, collect
from pdiff.bank.bank import flatten, restore
from pdiff.errors import InputError, UsageError
from tests.support import MEMBERS, checkpoint


def test_the_plain_safetensors_library_opens_every_file(bank: Bank) -> None:
    with safe_open(bank.path / "shards" / "00000.safetensors", "pt") as shard:
        rows = shard.get_tensor("rows")
    assert rows.shape == (MEMBERS, bank.dim)
    for index in range(MEMBERS):
        assert torch.equal(rows[index], bank.flatten(checkpoint(index)))
    assert load_file(bank.path / "base.safetensors").keys() == checkpoint(0).keys()
    assert load_file(bank.path / "stats.safetensors")["element_mean"].shape == (bank.dim,)


def test_a_row_is_a_read_only_view_of_the_map(bank: Bank) -> None:
    first, again, second = bank.row(0), bank.row(0), bank.row(1)
    assert first.ctypes.data == again.ctypes.data
    assert second.ctypes.data - first.ctypes.data == 4 * bank.dim
    assert not first.flags.writeable
    maps = Path("/proc/self/maps").read_text().splitlines()
    (line,) = [m for m in maps if m.endswith(str(bank.path / "shards" / "00000.safetensors"))]
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    assert begin <= first.ctypes.data < end


@pytest.mark.parametrize("kind", ["tensor", "element", "none"])
def test_batches_are_normalised_and_invertible(bank: Bank, kind: str) -> None:
    normalizer = bank.normalizer(kind)  # type: ignore[arg-type]
    raw = bank.batch(range(MEMBERS))
    batch = bank.batch(range(MEMBERS), normalizer)
    if kind == "element":
        assert batch.mean(dim=0).abs().max() < 1e-5
        assert torch.allclose(batch.std(dim=0, correction=0), torch.ones(bank.dim), atol=1e-5)
    normalizer.invert(batch.numpy())
    scale = torch.maximum(raw.abs(), (raw - raw.mean(dim=0)).abs())
    assert ((batch - raw).abs() <= 2 * 2.0**-23 * scale + 1e-30).float().mean() > 0.9
    assert torch.allclose(batch, raw, rtol=1e-5, atol=1e-6)


def test_columns_and_out(bank: Bank) -> None:
    out = torch.empty(2, 5)
    assert bank.batch([3, 1], columns=(4, 9), out=out) is out
    assert torch.equal(out, bank.batch([3, 1])[:, 4:9])


def test_a_state_dict_is_the_base_with_the_subset_replaced(bank: Bank) -> None:
    state = bank.state_dict(torch.from_numpy(bank.row(5).copy()))
    for name, tensor in checkpoint(5).items():
        expected = tensor if name != "bn.num_batches_tracked" else checkpoint(MEMBERS - 1)[name]
        assert torch.equal(state[name], expected)
        assert state[name].dtype == expected.dtype


def test_half_precision_comes_back_in_its_own_dtype_or_not_at_all() -> None:
    from pdiff._core import Layout

    layout = Layout([("a", "F16", [2]), ("b", "BF16", [1])])
    state = {
        "a": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "b": torch.tensor([3.0], dtype=torch.bfloat16),
    }
    back = restore(layout, flatten(layout, state))
    assert all(
        torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state
    )
    with pytest.raises(InputError, match="tensor a: 70000 does not fit F16"):
        restore(layout, torch.tensor([70000.0, 0, 0]))


def test_what_is_not_a_bank_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bank here .no bank.json.; make one with `pdiff collect`"):
        Bank.open(tmp_path)
    (tmp_path / "bank.json").write_text("{}")
    with pytest.raises(InputError, match="damaged manifest"):
        Bank.open(tmp_path)


@pytest.mark.parametrize("file", ["stats.safetensors", "base.safetensors"])
def test_a_flipped_bit_is_noticed(bank: Bank, file: str) -> None:
    content = bytearray((bank.path / file).read_bytes())
    content[-3] ^= 1
    (bank.path / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: damaged"):
        _ = (bank.base, bank.statistics)


def test_a_shard_of_another_size_is_noticed(bank: Bank, ckpts: Path, tmp_path: Path) -> None:
    (ckpts / "step-0.safetensors").unlink()
    other = collect(ckpts, out=tmp_path / "other")
    shard = "shards/00000.safetensors"
    (bank.path / shard).write_bytes((other.path / shard).read_bytes())
    with pytest.raises(InputError, match=f"{MEMBERS - 1}×{bank.dim}, the manifest says {MEMBERS}×{bank.dim}"):
        Bank.open(bank.path)


def test_rows_out_of_range_are_refused(bank: Bank) -> None:
    with pytest.raises(IndexError):
        bank.row(MEMBERS)
    with pytest.raises(IndexError):
        bank.batch(np.array([0, MEMBERS]))
