"""Reading a bank back: the safetensors library, views, batches, state dicts, damage."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pdiff.bank import Bank, collect
from pdiff.bank.manifest import FileEntry, Source, StoreDtype
from pdiff.bank.rows import flatten, restore
from pdiff.common.errors import InputError, UsageError
from pdiff.common.tensors import to_tensors
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_goes_to_the_callers_memory(bank: Bank, dtype: torch.dtype) -> None:
    normalizer = bank.normalizer("tensor")
    whole = torch.zeros(5, bank.dim, dtype=dtype)
    address = whole.data_ptr()
    assert bank.batch([4, 2], normalizer, out=whole[1:3]).data_ptr() == address + bank.dim * dtype.itemsize
    expected = bank.batch([4, 2], normalizer).to(dtype)
    assert torch.equal(whole[1:3], expected)
    assert not whole[[0, 3, 4]].any()
    assert torch.equal(bank.batch([4, 2], normalizer, dtype=dtype), expected)


def test_what_a_batch_cannot_go_to_is_refused(bank: Bank) -> None:
    half = torch.empty(2, bank.dim, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="dtype torch.float16; accepted: torch.float32, torch.bfloat16"):
        bank.batch([0, 1], dtype=torch.float16)
    with pytest.raises(ValueError, match="dtype torch.float64; accepted: torch.float32, torch.bfloat16"):
        bank.batch([0, 1], out=half.double())
    with pytest.raises(ValueError, match="out is torch.bfloat16; accepted: torch.float32, as asked for"):
        bank.batch([0, 1], out=half, dtype=torch.float32)
    with pytest.raises(ValueError, match="out is on meta; accepted: cpu"):
        bank.batch([0, 1], out=half.to("meta"))
    with pytest.raises(ValueError, match="out requires grad"):
        bank.batch([0, 1], out=half.float().requires_grad_())
    with pytest.raises(ValueError, match=rf"out has shape \[2, {bank.dim}\]; accepted: \[3, {bank.dim}\]"):
        bank.batch([0, 1, 2], out=half)
    with pytest.raises(ValueError, match="out is not contiguous; accepted: C order"):
        bank.batch([0, 1], out=torch.empty(bank.dim, 2).T)
    with pytest.raises(ValueError, match=r"columns \[5, 3\); accepted: 0 <= begin <= end"):
        bank.batch([0, 1], columns=(5, 3))


@pytest.mark.parametrize(
    ("dtype", "store_dtype"), [(torch.float32, "F32"), (torch.float16, "F16"), (torch.bfloat16, "BF16")]
)
def test_rows_in_half_precision_are_views_and_batches_exact(
    bank: Bank, ckpts: Path, tmp_path: Path, dtype: torch.dtype, store_dtype: StoreDtype
) -> None:
    rows = bank.batch(range(MEMBERS)).to(dtype)
    bank = collect(ckpts, out=tmp_path / "stored", store_dtype=store_dtype)
    row = bank.row(3)
    assert row.ctypes.data - bank.row(2).ctypes.data == dtype.itemsize * bank.dim
    assert not row.flags.writeable
    assert torch.equal(torch.from_numpy(row.copy()).view(dtype), rows[3])
    assert torch.equal(bank.batch(range(MEMBERS)), rows.float())
    assert torch.equal(bank.batch([3], dtype=torch.bfloat16)[0], rows[3].float().bfloat16())
    assert torch.equal(
        bank.subset(bank.batch([3])[0])["layer.bias"], bank.state_dict(rows[3].float())["layer.bias"]
    )


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
    back = to_tensors(restore(layout, flatten(layout, state).numpy()))
    assert all(
        torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state
    )
    with pytest.raises(InputError, match="tensor a: 70000 does not fit F16"):
        restore(layout, np.array([70000.0, 0, 0], dtype=np.float32))


def test_what_is_not_a_bank_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bank here .no bank.json.; make one with `pdiff collect`"):
        Bank.open(tmp_path)
    (tmp_path / "bank.json").write_text("{}")
    with pytest.raises(InputError, match="bank.json: damaged"):
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
    with pytest.raises(
        InputError, match=f"{MEMBERS - 1}×{bank.dim}×F32, the manifest says {MEMBERS}×{bank.dim}×F32"
    ):
        Bank.open(bank.path)


def test_rows_out_of_range_are_refused(bank: Bank) -> None:
    with pytest.raises(IndexError):
        bank.row(MEMBERS)
    with pytest.raises(IndexError):
        bank.batch(np.array([0, MEMBERS]))


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "shards/../../x"])
def test_a_manifest_that_leaves_its_folder_is_refused(bank: Bank, name: str) -> None:
    manifest = bank.manifest
    for change in (
        {"base": FileEntry(name, "00")},
        {"source": Source(shape="sharded", files={"layer.bias": name})},
    ):
        msgspec.structs.replace(manifest, **change).write(bank.path)
        with pytest.raises(InputError, match="which is not in its folder"):
            Bank.open(bank.path)


def test_a_bank_of_another_version_says_so(bank: Bank) -> None:
    msgspec.structs.replace(bank.manifest, format=1).write(bank.path)
    with pytest.raises(InputError, match="format 1, this version reads 4; make it again"):
        Bank.open(bank.path)


def test_a_manifest_that_was_edited_is_noticed(bank: Bank) -> None:
    path = bank.path / "bank.json"
    path.write_text(path.read_text().replace("0.93", "0.99"))
    with pytest.raises(InputError, match="bank.json: damaged .its checksum differs"):
        Bank.open(bank.path)
