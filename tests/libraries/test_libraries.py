"""Folders that the field's own libraries saved, read as their own loaders read them. Random weights."""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pdiff._core import Checkpoint
from pdiff.checkpoints import Choice, Example, find_checkpoints, open_checkpoints
from pdiff.common.progress import SILENT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def read(folder: Path, choice: Choice = Choice()) -> tuple[list[Example], dict[str, str]]:  # noqa: B008
    """Return the first checkpoint of each kind below `folder`, and why other files were left aside."""
    found = find_checkpoints([folder])
    opened = open_checkpoints(found, choice, SILENT)
    assert not opened.refused
    return list(opened.examples.values()), dict(found.skipped) | dict(found.refused)


def assert_same(ours: Checkpoint, theirs: Mapping[str, Tensor]) -> None:
    """Compare names, dtypes, shapes and bytes."""
    assert {t.name for t in ours.tensors} == theirs.keys()
    for info in ours.tensors:
        tensor = theirs[info.name].detach().contiguous()
        assert info.shape == tuple(tensor.shape)
        assert ours.read(info.name) == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    """Train for one step, so that the optimiser has a state to save."""
    model.train()
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def test_timm_training_checkpoints(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.utils import CheckpointSaver, ModelEmaV3

    model = timm.create_model("test_resnet", num_classes=3)
    ema = ModelEmaV3(model, decay=0.5)
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, optimizer, lambda: model(torch.randn(2, 3, 32, 32)).square().mean())
    ema.update(model)
    saver = CheckpointSaver(
        model, optimizer, args=Namespace(model="test_resnet", lr=0.1), model_ema=ema, checkpoint_dir=tmp_path
    )
    saver.save_checkpoint(epoch=0, metric=12.5)
    path = tmp_path / "checkpoint-0.pth.tar"
    assert path.is_file()

    [example], _ = read(tmp_path)
    assert example.header.key == "state_dict_ema"
    assert_same(example.header, timm.models.load_state_dict(str(path), use_ema=True))
    assert example.header.numbers["metric"] == 12.5
    [example], _ = read(tmp_path, Choice(ema=False))
    assert example.header.key == "state_dict"
    assert_same(example.header, timm.models.load_state_dict(str(path), use_ema=False))


def test_torchvision_reference_checkpoints(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.mobilenet_v3_small(num_classes=4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    step(model, optimizer, lambda: model(torch.randn(2, 3, 32, 32)).square().mean())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 7,
        "args": Namespace(data_path=Path("data"), lr=0.1),
    }
    for legacy in (False, True):
        torch.save(content, tmp_path / "model_7.pth", _use_new_zipfile_serialization=not legacy)
        [example], _ = read(tmp_path)
        assert example.header.format == ("torch-legacy" if legacy else "torch")
        assert example.header.key == "model"
        assert_same(example.header, model.state_dict())
        assert example.header.numbers == {"epoch": 7}


def bert() -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=60, max_position_embeddings=16, **sizes)
    return transformers.BertForMaskedLM(config)


def test_transformers_sharded_folders(tmp_path: Path) -> None:
    model = bert()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 2

    [example], _ = read(tmp_path)
    assert example.candidate.shape == "sharded"
    saved = {name: tensor for shard in shards for name, tensor in load_file(tmp_path / shard).items()}
    assert_same(example.header, saved)
    again = type(model).from_pretrained(tmp_path)
    assert all(
        torch.equal(saved[name], tensor) for name, tensor in again.state_dict().items() if name in saved
    )


def test_transformers_trainer_checkpoints(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    row = {"input_ids": torch.arange(8), "labels": torch.arange(8)}
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    model = bert()
    transformers.Trainer(model=model, args=arguments, train_dataset=[row] * 8).train()
    found = find_checkpoints([tmp_path])
    assert [c.source for c in found.candidates] == [f"checkpoint-{n}/model.safetensors" for n in (1, 2)]
    skipped = {Path(name).name for name, _ in found.skipped}
    assert skipped >= {"optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"}
    opened = open_checkpoints(found, Choice(), SILENT)
    assert len(opened.examples) == 1
    last = Checkpoint([tmp_path / "checkpoint-2" / "model.safetensors"])
    assert_same(last, load_file(tmp_path / "checkpoint-2" / "model.safetensors"))


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_model.bin"])
def test_peft_adapter_folders(tmp_path: Path, file: str) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"])
    model = peft.get_peft_model(bert(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "one", safe_serialization=file.endswith("safetensors"))
    assert (tmp_path / "one" / file).is_file()

    [example], _ = read(tmp_path)
    assert example.candidate.shape == "adapter"
    assert example.candidate.adapter["r"] == 3
    theirs = peft.load_peft_weights(str(tmp_path / "one"), device="cpu")
    plain = {name.removeprefix("base_model.model."): tensor for name, tensor in theirs.items()}
    assert_same(example.header, plain)
    assert {t.source_name for t in example.header.tensors} == theirs.keys()

    other = peft.get_peft_model(
        bert(), peft.LoraConfig(r=3, lora_alpha=12, target_modules=["query", "value"])
    )
    other.save_pretrained(tmp_path / "two")
    examples, _ = read(tmp_path)
    assert len(examples) == 2


@pytest.mark.parametrize("safe", [True, False])
def test_accelerate_states(tmp_path: Path, safe: bool) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    model, optimizer = accelerator.prepare(network, torch.optim.Adam(network.parameters()))
    step(model, optimizer, lambda: model(torch.randn(3, 4)).square().mean())
    accelerator.save_state(str(tmp_path / "state"), safe_serialization=safe)

    [example], others = read(tmp_path)
    assert example.candidate.source == f"state/{'model.safetensors' if safe else 'pytorch_model.bin'}"
    assert_same(example.header, accelerator.unwrap_model(model).state_dict())
    assert {"state/optimizer.bin"} <= others.keys()


@pytest.mark.parametrize("wrapped", ["ddp", "compile", "ddp of compile", "compile inside", "averaged"])
def test_training_loops_that_wrap_their_network(tmp_path: Path, wrapped: str) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if "ddp" in wrapped:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
        )
    try:
        model: nn.Module = network
        if wrapped in {"compile", "ddp of compile"}:
            model = torch.compile(network)  # type: ignore[assignment]
        if wrapped == "compile inside":
            network[2] = torch.compile(network[2])  # type: ignore[assignment]
        if "ddp" in wrapped:
            model = nn.parallel.DistributedDataParallel(model)
        if wrapped == "averaged":
            model = torch.optim.swa_utils.AveragedModel(network)
        names = model.state_dict().keys()
        assert names != plain.keys()
        torch.save({"state_dict": model.state_dict(), "loss": 0.25}, tmp_path / "last.ckpt")
    finally:
        if "ddp" in wrapped:
            torch.distributed.destroy_process_group()
    (tmp_path / "rendezvous").unlink(missing_ok=True)

    [example], _ = read(tmp_path)
    assert_same(example.header, plain)
    assert example.header.prefixes
    assert example.header.left_out == (["n_averaged"] if wrapped == "averaged" else [])
    assert example.header.numbers == {"loss": 0.25}
