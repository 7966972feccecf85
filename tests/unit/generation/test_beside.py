"""What stood beside the weights comes back with `--format source`: in the folder, and in the torch file."""

import io
import json
import math
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.generation.averaging import average
from pdiff.generation.extract import export
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from tests.support import Said, checkpoint

MEMBERS = 4


def again(bank: Bank, folder: Path) -> Generated:
    return generate(bank, config=Config.preset("gaussian"), n=2, out=folder / "as-source", format="source")


def nested(folder: Path, beside: Callable[[int], dict[str, Any]]) -> Path:
    """Save MEMBERS networks in files as training scripts do, with something beside."""
    folder.mkdir()
    for index in range(MEMBERS):
        state = OrderedDict((f"module.{name}", tensor) for name, tensor in checkpoint(index).items())
        torch.save(beside(index) | {"state_dict": state}, folder / f"{index}.ckpt")
    return folder


def of_lightning(index: int) -> dict[str, Any]:
    """As Lightning 2 writes it, but for the weights."""
    return {
        "epoch": 3,
        "global_step": 10 * index,
        "pytorch-lightning_version": "2.4.0",
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1, "done": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": 3, "_step_count": 2}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "sizes": (3, 4), "name": "net", "limit": math.inf, "drop": None},
    }


def of_script(index: int) -> dict[str, Any]:
    history = [0.25, -math.inf, 10**10, True]
    return {"args": Namespace(lr=0.1), "epoch": index, 7: "seven", "history": history, "tags": {"a"}}


def of_ordered(_: int) -> dict[str, Any]:
    settings = OrderedDict(b=1, a=OrderedDict(x=(1, (2.5, "é\n"))))
    return {
        "settings": settings,
        "map": {1: "one", None: [], (1, 2): {}},
        "config": {"net": Namespace(a=1), "k": 3},
    }


@pytest.mark.parametrize(
    ("beside", "expected", "lost"),
    [
        (
            of_lightning,
            {key: value for key, value in of_lightning(MEMBERS - 1).items() if "states" not in key},
            "callbacks, optimizer_states",
        ),
        (of_script, {"epoch": 3, "history": of_script(3)["history"]}, "args, tags"),
        (of_ordered, of_ordered(0) | {"config": {"k": 3}}, "net"),
    ],
)
def test_plain_values_beside_the_weights_come_back(
    tmp_path: Path, beside: Callable[[int], dict[str, Any]], expected: dict[str, Any], lost: str
) -> None:
    said = Said()
    bank = collect(nested(tmp_path / "ckpts", beside), out=tmp_path / "bank", progress=said)
    assert any(line.endswith(f"beside the weights again, but for {lost}") for line in said), said
    generated = again(bank, tmp_path)
    loaded = torch.load(generated.path / generated.info.files[1], weights_only=True)
    state = loaded.pop("state_dict")
    assert type(state) is OrderedDict
    assert state.keys() == {f"module.{name}" for name in checkpoint(0)}
    expected.pop("callbacks", None)
    assert repr(loaded) == repr(expected)
    assert len(collect(generated.path, out=bank.path, extend=True)) == MEMBERS + 2


def test_entries_among_the_tensors_come_back(tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(MEMBERS):
        torch.save({"epoch": 5, **checkpoint(index), "x._extra_state": None}, tmp_path / f"ckpts/{index}.pt")
    generated = again(collect(tmp_path / "ckpts", out=tmp_path / "bank"), tmp_path)
    loaded = torch.load(generated.path / generated.info.files[0], weights_only=True)
    assert (loaded["epoch"], loaded["x._extra_state"]) == (5, None)
    assert loaded.keys() == {"epoch", "x._extra_state", *checkpoint(0)}


def test_other_formats_hold_the_weights_alone(tmp_path: Path) -> None:
    bank = collect(nested(tmp_path / "ckpts", of_lightning), out=tmp_path / "bank")
    made = generate(bank, config=Config.preset("gaussian"), n=1, out=tmp_path / "g", format="pth")
    assert torch.load(made.path / made.info.files[0], weights_only=True).keys() == checkpoint(0).keys()


def test_an_average_has_what_stood_beside_too(tmp_path: Path) -> None:
    made = average(nested(tmp_path / "ckpts", of_lightning), out=tmp_path / "average", format="source")
    loaded = torch.load(made.path / made.record.files[0], weights_only=True)
    assert loaded["hyper_parameters"]["sizes"] == (3, 4)


@pytest.mark.parametrize("more", [{}, {"epoch": 3}])
def test_a_file_of_fastai_keeps_the_keys_by_which_it_is_known(tmp_path: Path, more: dict[str, Any]) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(MEMBERS):
        content = {"model": checkpoint(index), "opt": {"state": [{"mom": torch.ones(2)}], "hypers": []}}
        torch.save(content | more, tmp_path / f"ckpts/{index}.pth")
    generated = again(collect(tmp_path / "ckpts", out=tmp_path / "bank"), tmp_path)
    loaded = torch.load(generated.path / generated.info.files[0], weights_only=True)
    assert loaded.pop("model").keys() == checkpoint(0).keys()
    assert loaded == (more or {"opt": None})


def test_text_in_a_header_comes_back_but_what_tells_of_one_checkpoint_does_not(tmp_path: Path) -> None:
    """As diffusers says the scale of an adapter, kohya its rank; an accuracy is of one checkpoint."""
    settings = {"unet.lora_alpha": 16, "unet.r": 2}
    for index in range(MEMBERS):
        text = {
            "format": "pt",
            "lora_adapter_metadata": json.dumps(settings),
            "accuracy": f"0.9{index}",
            "ss_network_dim": "16",
            "ss_learning_rate": "1e-4",
            "modelspec.hash_sha256": "0x12",
            "pdiff.seed": "x",
        }
        (tmp_path / "ckpts").mkdir(exist_ok=True)
        save_file(checkpoint(index), tmp_path / f"ckpts/{index}.safetensors", text)
    generated = again(collect(tmp_path / "ckpts", out=tmp_path / "bank"), tmp_path)
    made = average(tmp_path / "ckpts", out=tmp_path / "average", format="source")
    plain = generate(
        Bank.open(tmp_path / "bank"), config=Config.preset("gaussian"), n=1, out=tmp_path / "plain"
    )
    with safe_open(generated.path / generated.info.files[1], "pt") as file:
        said = file.metadata()
    assert json.loads(said.pop("lora_adapter_metadata")) == settings
    own = {"format", "pdiff.generator", "pdiff.seed", "pdiff.index"}
    assert said.keys() == {*own, "ss_network_dim", "ss_learning_rate"}
    assert (said["ss_network_dim"], said["ss_learning_rate"]) == ("16", "1e-4")
    assert said["pdiff.index"] == "1"
    with safe_open(made.path / made.record.files[0], "pt") as file:
        said = file.metadata()
        assert json.loads(said["lora_adapter_metadata"]) == settings
        assert "accuracy" not in said
        assert said["ss_network_dim"] == "16"
    with safe_open(plain.path / plain.info.files[0], "pt") as file:
        assert "lora_adapter_metadata" not in file.metadata()


def test_sentence_transformers_come_back_with_their_modules(tmp_path: Path) -> None:
    beside = {
        "modules.json": '[{"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Pooling"}]',
        "1_Pooling/config.json": '{"pooling_mode_cls_token": true}',
        "sentence_bert_config.json": '{"max_seq_length": 16}',
        "config_sentence_transformers.json": '{"similarity_fn_name": "cosine"}',
    }
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/config.json").write_text("{}")
    for index in range(MEMBERS):
        folder = tmp_path / f"ckpts/checkpoint-{index}"
        (folder / "1_Pooling").mkdir(parents=True)
        save_file(checkpoint(index), folder / "model.safetensors", {"format": "pt"})
        for name, content in (beside | {"config.json": '{"model_type": "made-up"}'}).items():
            (folder / name).write_text(content)
        (folder / "3_Link").mkdir()
        (folder / "3_Link/config.json").symlink_to(tmp_path / "elsewhere/config.json")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    generated = again(bank, tmp_path)
    rows = generate(bank, config=Config.preset("gaussian"), n=2, out=tmp_path / "rows", format="rows")
    files = export(rows, tmp_path / "exported", format="source")
    for folder in (generated.path / generated.info.files[0], files[1]):
        written = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert written.keys() == {*beside, "config.json", "model.safetensors"}
        assert {name: written[name].read_text() for name in beside} == beside


BESIDE = {
    "data": b'{"policy_class": {":serialized:": "gAWV"}}',
    "policy.optimizer.pth": b"\x80\x02",
    "_stable_baselines3_version": b"2.3.0",
}


def agents(folder: Path, beside: dict[str, bytes] = BESIDE) -> Path:
    """Save MEMBERS agents as Stable-Baselines3 does, the last with another size of `system_info.txt`."""
    folder.mkdir()
    for index in range(MEMBERS):
        torch.save(OrderedDict(checkpoint(index)), folder / "policy.pth")
        with ZipFile(folder / f"rl_model_{index}_steps.zip", "w") as archive:
            for name, content in beside.items():
                archive.writestr(name, content)
            archive.write(folder / "policy.pth", "policy.pth")
            archive.writestr("system_info.txt", f"- Process: {index}")
        (folder / "policy.pth").unlink()
    return folder


def test_agents_come_back_whole(tmp_path: Path) -> None:
    said = Said()
    bank = collect(agents(tmp_path / "ckpts"), out=tmp_path / "bank", progress=said)
    assert any("--format source writes whole agents" in line for line in said), said
    generated = again(bank, tmp_path)
    assert generated.info.files == ["model-0000.zip", "model-0001.zip"]
    made = average(tmp_path / "ckpts", out=tmp_path / "average", format="source")
    files = [*(generated.path / file for file in generated.info.files), made.path / made.record.files[0]]
    for file in files:
        with ZipFile(file) as archive:
            assert archive.testzip() is None
            beside = {name: archive.read(name) for name in archive.namelist()}
        state = torch.load(io.BytesIO(beside.pop("policy.pth")), weights_only=True)
        assert state.keys() == checkpoint(0).keys()
        assert beside.pop("system_info.txt") in {b"- Process: 0", b"- Process: 3"}
        assert beside == BESIDE
    assert len(collect(generated.path, out=bank.path, extend=True)) == MEMBERS + 2
    other = generate(bank, config=Config.preset("gaussian"), n=1, out=tmp_path / "g", format="pth")
    assert torch.load(other.path / other.info.files[0], weights_only=True).keys() == checkpoint(0).keys()


def test_agents_with_much_beside_the_policy_come_back_as_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdiff.checkpoints.agents._MOST", 100)
    said = Said()
    folder = agents(tmp_path / "ckpts", BESIDE | {"actor.optimizer.pth": b"x" * 100})
    generated = again(collect(folder, out=tmp_path / "bank", progress=said), tmp_path)
    assert any("--format source writes policies alone" in line for line in said), said
    assert torch.load(generated.path / "model-0000.pth", weights_only=True).keys() == checkpoint(0).keys()


@pytest.mark.parametrize("text", ["[", '{"x": 1}', '{"dict": [1]}', '{"dict": []}' + " " * 9 + "]"])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    bank = collect(nested(tmp_path / "ckpts", of_lightning), out=tmp_path / "bank")
    (bank.path / "source/rest.json").write_text(text)
    with pytest.raises(InputError, match="rest.json: damaged"):
        again(bank, tmp_path)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors"]
)
def test_folders_with_a_configuration_come_back_as_folders(tmp_path: Path, file: str) -> None:
    """As the trainer of transformers leaves them, and diffusers."""
    for index in range(MEMBERS):
        folder = tmp_path / f"ckpts/checkpoint-{index}"
        folder.mkdir(parents=True)
        if file.endswith(".bin"):
            torch.save(checkpoint(index), folder / file)
        else:
            save_file(checkpoint(index), folder / file, {"format": "pt"})
        (folder / "config.json").write_text('{"model_type": "made-up"}')
        (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
        (folder / "merges.txt").write_bytes(b"#version: 0.2\na b\n\xff")
        (folder / "trainer_state.json").write_text("{}")
        torch.save({"step": index}, folder / "optimizer.pt")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    generated = again(bank, tmp_path)
    assert generated.info.files == ["model-0000", "model-0001"]
    folder = generated.path / "model-0001"
    assert {path.name for path in folder.iterdir()} == {file, "config.json", "tokenizer.json", "merges.txt"}
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "made-up"}
    assert (folder / "merges.txt").read_bytes().endswith(b"\xff")
    assert generated[1].keys() == checkpoint(0).keys()
    if not file.endswith(".bin"):
        assert load_file(folder / file).keys() == checkpoint(0).keys()
    assert len(collect(generated.path, out=bank.path, extend=True)) == MEMBERS + 2
