"""Generated checkpoints in every format: what the libraries read is what was drawn, laid out as asked for."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import swa_utils

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.common.errors import InputError, UsageError
from pdiff.generation.averaging import average
from pdiff.generation.extract import export
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from pdiff.training import Run
from pdiff.verification import verify
from tests.support import TINY, checkpoint

MEMBERS = 4
INDEX = "model.safetensors.index.json"
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"]}

Write = Callable[[Path, int], None]


def run_of(folder: Path, write: Write) -> Run:
    """Collect and train on MEMBERS checkpoints that `write(folder, index)` leaves."""
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        write(folder / "ckpts", index)
    bank = collect(folder / "ckpts", out=folder / "bank")
    return train(bank, out=folder / "run", config=Config.build(settings=TINY))


def drawn(run: Run, folder: Path, fmt: Any) -> Generated:
    generated = generate(run, n=2, out=folder / f"as-{fmt}", format=fmt)
    assert verify(generated.path).bad == []
    return generated


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


def write_plain(folder: Path, index: int) -> None:
    save_file(checkpoint(index), folder / f"{index}.safetensors")


def write_sharded(folder: Path, index: int) -> None:
    """A folder as transformers saves it; a dot in its name must not matter."""
    model = folder / f"checkpoint-{index}.0"
    model.mkdir()
    state = checkpoint(index)
    first = {name: state.pop(name) for name in ("frozen.weight", "layer.bias")}
    save_file(first, model / PARTS[0], {"format": "pt"})
    save_file(state, model / PARTS[1], {"format": "pt"})
    weight_map = dict.fromkeys(first, PARTS[0]) | dict.fromkeys(state, PARTS[1])
    (model / INDEX).write_text(json.dumps({"metadata": {"total_size": 7}, "weight_map": weight_map}))
    (model / "config.json").write_text('{"model_type": "made-up"}')
    (model / "training_args.bin").write_bytes(b"x")


def write_adapter(folder: Path, index: int) -> None:
    adapter = folder / f"adapter-{index}"
    adapter.mkdir()
    generator = torch.Generator().manual_seed(index)
    state = {
        f"base_model.model.layers.0.q.lora_{side}.weight": torch.randn(2, 2, generator=generator)
        for side in "AB"
    }
    save_file(state, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({**SETTINGS, "inference_mode": True}))


def write_nested(folder: Path, index: int) -> None:
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in checkpoint(index).items())
    torch.save({"epoch": index, "state_dict": state, "optimizer": {"lr": 0.1}}, folder / f"{index}.pth.tar")


def write_legacy(folder: Path, index: int) -> None:
    torch.save(checkpoint(index), folder / f"{index}.pt", _use_new_zipfile_serialization=False)


def write_tied(folder: Path, index: int) -> None:
    weight = torch.randn(3, 2, generator=torch.Generator().manual_seed(index))
    state = {"embed.weight": weight, "norm": torch.ones(2), "head.weight": weight, "norm_again": None}
    state["norm_again"] = state["norm"]
    torch.save(state, folder / f"{index}.pt")


EVERY = [write_plain, write_sharded, write_adapter, write_nested, write_legacy, write_tied]


@pytest.mark.parametrize("write", EVERY)
def test_every_format_holds_the_same_models(tmp_path: Path, write: Write) -> None:
    run = run_of(tmp_path, write)
    plain, pth, source = (drawn(run, tmp_path, fmt) for fmt in ("safetensors", "pth", "source"))
    assert len(plain) == len(pth) == len(source) == 2
    for index in range(2):
        expected = load_file(plain.path / plain.info.files[index])
        assert_same(plain[index], expected)
        assert_same(pth[index], expected)
        assert_same(source[index], expected)
        loaded = torch.load(pth.path / pth.info.files[index], weights_only=True)
        assert type(loaded) is OrderedDict
        assert_same(loaded, expected)
    assert torch.equal(plain.rows(), source.rows())
    assert len(source.rows().unique(dim=0)) == 2


@pytest.mark.parametrize("write", EVERY)
def test_the_source_collects_again_as_a_member(tmp_path: Path, write: Write) -> None:
    run = run_of(tmp_path, write)
    drawn(run, tmp_path, "source")
    extended = collect(tmp_path / "as-source", out=run.bank.path, extend=True)
    assert len(extended) == MEMBERS + 2


@pytest.mark.parametrize("fmt", ["safetensors", "pth", "source"])
def test_the_same_bytes_each_time(tmp_path: Path, fmt: Any) -> None:
    run = run_of(tmp_path, write_plain)
    first, second = (generate(run, n=2, out=tmp_path / out, format=fmt) for out in "ab")
    assert first.info.digests == second.info.digests
    assert len(first.info.digests) == 2


def test_a_sharded_source_gives_folders(tmp_path: Path) -> None:
    source = drawn(run_of(tmp_path, write_sharded), tmp_path, "source")
    assert source.info.files == ["model-0000", "model-0001"]
    folder = source.path / "model-0001"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["config.json", INDEX, *PARTS])
    original = tmp_path / "ckpts" / "checkpoint-0.0"
    for name in ("config.json", INDEX):
        assert json.loads((folder / name).read_text()) == json.loads((original / name).read_text())
    for part in PARTS:
        assert load_file(folder / part).keys() == load_file(original / part).keys()


def test_an_adapter_gives_folders(tmp_path: Path) -> None:
    run = run_of(tmp_path, write_adapter)
    source = drawn(run, tmp_path, "source")
    folder = source.path / "model-0000"
    original = tmp_path / "ckpts" / "adapter-0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((folder / "adapter_config.json").read_text()) == {**SETTINGS, "inference_mode": True}
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert names == load_file(original / "adapter_model.safetensors").keys()
    assert "layers.0.q.lora_A.weight" in run.bank.subset_names


def test_a_nested_torch_source_is_nested_again(tmp_path: Path) -> None:
    source = drawn(run_of(tmp_path, write_nested), tmp_path, "source")
    assert source.info.files == ["model-0000.pth.tar", "model-0001.pth.tar"]
    loaded = torch.load(source.path / "model-0000.pth.tar", weights_only=True)
    assert list(loaded) == ["epoch", "state_dict", "optimizer"]
    assert loaded["state_dict"].keys() == {f"module.{name}" for name in checkpoint(0)}


@pytest.mark.parametrize(
    "name",
    ["epoch={}.ckpt", "model_{}.pth.tar", "model_{}.bin", "model_{}.pkl", "{}.pt", "{}.PT", "{}.safetensors"],
)
def test_names_end_as_those_that_were_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(MEMBERS):
        path = tmp_path / "ckpts" / name.format(index)
        (save_file if name.endswith(".safetensors") else torch.save)(checkpoint(index), path)
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    end = name.partition("}")[2]
    made = generate(bank, config=Config.preset("gaussian"), n=1, out=tmp_path / "made", format="source")
    assert made.info.files == [f"model-0000{end}"]
    assert made[0].keys() == checkpoint(0).keys()
    assert len(collect(tmp_path / "ckpts", made.path, out=tmp_path / "again")) == MEMBERS + 1
    paths = export(bank, tmp_path / "exported", members=[2], format="source")
    assert [path.name for path in paths] == [f"member-0002{end}"]
    averaged = average(tmp_path / "ckpts", out=tmp_path / "average", format="source")
    assert averaged.record.files == [f"average{end}"]
    written = generate(bank, config=Config.preset("gaussian"), n=1, out=tmp_path / "pth", format="pth")
    assert written.info.files == ["model-0000.pth"]


def test_a_bank_whose_ending_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    bank = run_of(tmp_path, write_plain).bank
    source = msgspec.structs.replace(bank.manifest.source, ending="/../../a.pth")
    msgspec.structs.replace(bank.manifest, source=source).write(bank.path)
    with pytest.raises(InputError, match="not in its folder"):
        Bank.open(bank.path)


def test_tied_tensors_are_one_row_and_tied_again(tmp_path: Path) -> None:
    run = run_of(tmp_path, write_tied)
    assert run.bank.dim == 6
    assert run.bank.manifest.tied == {"head.weight": "embed.weight", "norm_again": "norm"}
    assert run.bank.subset_names == {"embed.weight", "head.weight"}
    state = run.bank.state_dict(torch.arange(6.0))
    assert state["head.weight"] is state["embed.weight"]
    for fmt in ("pth", "source"):
        generated = drawn(run, tmp_path, fmt)
        loaded = torch.load(generated.path / generated.info.files[0], weights_only=True)
        assert loaded["head.weight"].data_ptr() == loaded["embed.weight"].data_ptr()
        assert loaded["norm_again"].data_ptr() == loaded["norm"].data_ptr()
        assert loaded["norm"].data_ptr() != loaded["head.weight"].data_ptr()
        assert loaded["embed.weight"].untyped_storage().nbytes() == 24


def test_a_member_that_is_not_tied_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(3):
        write_tied(folder, index)
    state = torch.load(folder / "2.pt", weights_only=True)
    torch.save(state | {"head.weight": state["head.weight"] + 1}, folder / "2.pt")
    with pytest.raises(InputError, match=r"2.pt: head.weight and embed.weight are two tensors here"):
        collect(folder, out=tmp_path / "bank")


def test_small_dtypes_come_back_or_do_not_fit(tmp_path: Path) -> None:
    def write(folder: Path, index: int) -> None:
        half = torch.tensor([65000.0 - index, 1.0], dtype=torch.float16)
        carried = {
            "f8": torch.ones(2).to(torch.float8_e4m3fn),
            "flag": torch.tensor([True]),
            "n": torch.tensor(3),
        }
        save_file(
            {"w": half, "v": torch.full((2,), float(index), dtype=torch.bfloat16), **carried},
            folder / f"{index}.safetensors",
        )

    (tmp_path / "ckpts").mkdir()
    for index in range(3):
        write(tmp_path / "ckpts", 64 * index)
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    state = bank.state_dict(torch.from_numpy(bank.row(1).copy()))
    original = load_file(tmp_path / "ckpts" / "64.safetensors")
    for name, tensor in original.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name].float(), tensor.float())
    with pytest.raises(InputError, match="tensor w: 70000 does not fit F16"):
        bank.state_dict(torch.tensor([1.0, 1.0, 70000.0, 1.0]))


def test_a_format_that_is_none_is_refused(make_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown checkpoint format 'pt'; did you mean 'pth'"):
        generate(make_run(), n=1, out=tmp_path / "g", format="pt")  # type: ignore[arg-type]


def test_a_damaged_companion_is_noticed(tmp_path: Path) -> None:
    run = run_of(tmp_path, write_sharded)
    (run.bank.path / "source" / "config.json").write_text("{}")
    assert verify(run.bank.path).bad == ["source/config.json: its digest differs"]
    with pytest.raises(InputError, match="config.json: damaged"):
        generate(
            Run(run.path, Bank.open(run.bank.path), run.config, run.result, run.digest),
            n=1,
            format="source",
            out=tmp_path / "g",
        )


def test_a_key_with_a_dot_is_one_key_again(tmp_path: Path) -> None:
    def write(folder: Path, index: int) -> None:
        torch.save({"model.net": {"a.b": checkpoint(index)}, "epoch": 1}, folder / f"{index}.pt")

    source = drawn(run_of(tmp_path, write), tmp_path, "source")
    loaded = torch.load(source.path / source.info.files[0], weights_only=True)
    assert list(loaded) == ["model.net", "epoch"]
    assert list(loaded["model.net"]) == ["a.b"]
    assert_same(source[0], loaded["model.net"]["a.b"])


def test_an_averaged_model_is_one_again(tmp_path: Path) -> None:
    def network() -> nn.Module:
        return swa_utils.AveragedModel(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))

    def write(folder: Path, index: int) -> None:
        torch.manual_seed(index)
        model = network()
        torch.save(model.state_dict() | {"n_averaged": torch.tensor(7)}, folder / f"{index}.pt")

    run = run_of(tmp_path, write)
    source = drawn(run, tmp_path, "source")
    loaded = torch.load(source.path / source.info.files[0], weights_only=True)
    model = network()
    model.load_state_dict(loaded, strict=True)
    assert int(loaded["n_averaged"]) == 1
    plain = drawn(run, tmp_path, "pth")
    model.module.load_state_dict(torch.load(plain.path / plain.info.files[0], weights_only=True), strict=True)
    extended = collect(tmp_path / "as-source", out=run.bank.path, extend=True)
    assert len(extended) == MEMBERS + 2
