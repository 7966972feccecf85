"""Folders as trainers leave them are collected, and what `--format source` writes is loaded again by them."""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pdiff.bank import collect
from pdiff.checkpoints import convert_folder
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.generation.sample import generate
from tests.libraries.writing_back import MEMBERS, again, assert_loaded, network, written_back
from tests.support import Said

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = torch.arange(24.0).reshape(8, 3) / 24
LABELS = torch.arange(8) % 2


def loss(model: Any) -> Tensor:
    return nn.functional.cross_entropy(model(ROWS), LABELS)


@pytest.mark.parametrize("averaged", [False, True])
def test_mmengine(tmp_path: Path, averaged: bool) -> None:
    """The work folder of a `Runner`: epochs, with optimiser, schedulers and history, and its logs."""
    mmengine = pytest.importorskip("mmengine")
    from mmengine.model import BaseModel
    from mmengine.runner import Runner, load_checkpoint

    class Model(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, inputs: Tensor, labels: Tensor, mode: str = "loss") -> Any:
            return {"loss": nn.functional.cross_entropy(self.net(inputs), labels)}

        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            parsed, logged = self.parse_losses(self(*data))
            optim_wrapper.update_params(parsed)
            return logged

    loader = {"dataset": list(zip(ROWS, LABELS, strict=True)), "batch_size": 4}
    runner = Runner(
        model=Model(),
        work_dir=str(tmp_path / "work"),
        train_dataloader=loader
        | {"sampler": {"type": "DefaultSampler"}, "collate_fn": {"type": "default_collate"}},
        train_cfg={"by_epoch": True, "max_epochs": MEMBERS},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        param_scheduler={"type": "MultiStepLR", "by_epoch": True, "milestones": [2]},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        custom_hooks=[{"type": "EMAHook"}] if averaged else None,
        experiment_name=f"test-{averaged}",
        log_level="ERROR",
    )
    runner.train()

    made = again(tmp_path, tmp_path / "work")
    for index, file in enumerate(made.info.files):
        model = Model()
        content = load_checkpoint(model, str(made.path / file), map_location="cpu", strict=True)
        assert content["meta"]["mmengine_version"].startswith(mmengine.__version__)
        assert_loaded(model, made[index])
    if averaged:  # the hook has exchanged the two
        saved = torch.load(tmp_path / f"work/epoch_{MEMBERS}.pth", weights_only=False)
        member = made.bank.state_dict(made.bank.batch([MEMBERS - 1])[0])
        assert torch.equal(member["net.0.weight"], saved["state_dict"]["net.0.weight"])
        assert not torch.equal(member["net.0.weight"], saved["ema_state_dict"]["module.net.0.weight"])


@pytest.mark.parametrize("with_opt", [True, False])
def test_fastai(tmp_path: Path, with_opt: bool) -> None:
    """What `SaveModelCallback` leaves, and an exported learner beside it, which holds code."""
    fastai = pytest.importorskip("fastai.basics")
    from fastai.callback.tracker import SaveModelCallback

    class Rows(list[Any]):
        def new_empty(self) -> "Rows":
            return Rows()

    rows = Rows(zip(ROWS, LABELS, strict=True))

    def learner() -> Any:
        loaders = fastai.DataLoaders.from_dsets(rows, rows, bs=4, num_workers=0, device="cpu")
        return fastai.Learner(loaders, network(), loss_func=nn.CrossEntropyLoss(), path=tmp_path)

    one = learner()
    with one.no_logging():
        one.fit(MEMBERS, 0.1, cbs=[SaveModelCallback(every_epoch=True, with_opt=with_opt)])

    made = again(tmp_path, tmp_path / "models")
    for index, file in enumerate(made.info.files):
        shutil.copy(made.path / file, tmp_path / "models/generated.pth")
        other = learner()
        other.load("generated", with_opt=False)
        assert_loaded(other.model, made[index])


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_deepspeed(tmp_path: Path, stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder a step, and its name in `latest`; with ZeRO-3 there are placeholders in place of weights."""
    places = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in (places | {"MASTER_PORT": "0", "DS_ACCELERATOR": "cpu"}).items():
        monkeypatch.setenv(name, value)
    deepspeed = pytest.importorskip("deepspeed")
    backend = import_module("deepspeed.comm.torch")
    monkeypatch.setattr(backend, "build_shm_op", lambda: None)  # would compile one
    deepspeed.init_distributed("gloo")
    try:
        model = network()
        engine, *_ = deepspeed.initialize(
            model=model,
            model_parameters=model.parameters(),
            config={
                "train_batch_size": 8,
                "optimizer": {"type": "AdamW", "params": {"lr": 0.01, "torch_adam": True}},
                "zero_optimization": {"stage": stage},
            },
        )
        for _ in range(MEMBERS):
            engine.backward(loss(engine))
            engine.step()
            engine.save_checkpoint(str(tmp_path / "ckpts"))
        if stage == 3:
            with pytest.raises(InputError, match="zero_to_fp32.py"):
                again(tmp_path, tmp_path / "ckpts")
            return
        made = again(tmp_path, tmp_path / "ckpts")
        (tmp_path / "ckpts/new").mkdir()
        for index, file in enumerate(made.info.files):
            shutil.copy(made.path / file, tmp_path / "ckpts/new/mp_rank_00_model_states.pt")
            engine.load_checkpoint(str(tmp_path / "ckpts"), tag="new", load_module_only=True)
            assert_loaded(engine.module, made[index])
    finally:
        deepspeed.comm.destroy_process_group()


def test_torchao(tmp_path: Path) -> None:
    """Quantised tensors are objects of classes: converted, they are numbers, which can be quantised again."""
    torchao = pytest.importorskip("torchao.quantization")

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))

    for index in range(3):
        torch.manual_seed(index)
        quantised = model()
        torchao.quantize_(quantised, torchao.Int8WeightOnlyConfig())
        (tmp_path / "quantised").mkdir(exist_ok=True)
        torch.save(quantised.state_dict(), tmp_path / f"quantised/{index}.pt")
    with pytest.raises(InputError, match=r"torchao.*--i-trust-this-file"):
        again(tmp_path, tmp_path / "quantised")
    convert_folder(tmp_path / "quantised", tmp_path / "ckpts", trusted=True)

    made = again(tmp_path, tmp_path / "ckpts")
    plain = model()
    plain.load_state_dict(load_file(made.path / made.info.files[0]))
    assert_loaded(plain, made[0])
    torchao.quantize_(plain, torchao.Int8WeightOnlyConfig())


def test_ultralytics(tmp_path: Path) -> None:
    """`weights/` as its trainer leaves it: whole modules in half precision, converted before."""
    pytest.importorskip("ultralytics")
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    def model() -> Any:
        layers = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]]
        return DetectionModel(
            {"nc": 2, "backbone": layers, "head": [[[1], 1, "Detect", ["nc"]]]}, ch=3, verbose=False
        )

    weights = tmp_path / "runs/detect/train/weights"
    weights.mkdir(parents=True)
    (weights.parent / "args.yaml").write_text("task: detect\n")
    trained = model()
    trained.args = {"task": "detect"}
    for index in range(MEMBERS):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-2)
        content = {"epoch": index, "best_fitness": 0.5, "model": None, "ema": trained.half(), "updates": 3}
        torch.save(content | {"train_args": {"task": "detect"}, "version": "8"}, weights / f"epoch{index}.pt")
        trained.float()
    with pytest.raises(InputError, match="pdiff convert .*--i-trust-this-file"):
        again(tmp_path, tmp_path / "runs")
    convert_folder(tmp_path / "runs", tmp_path / "ckpts", trusted=True)

    made = again(tmp_path, tmp_path / "ckpts")
    detector = YOLO(weights / "epoch0.pt")
    detector.model.half().load_state_dict(load_file(made.path / made.info.files[0]))
    assert_loaded(detector.model, made[0])
    detector.model.float()
    detector.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)


def test_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of its own are refused, with the way that its torch backend has."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras has another backend")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    (tmp_path / "own").mkdir()
    model.save(tmp_path / "own/a.keras")
    model.save_weights(tmp_path / "own/a.weights.h5")
    with pytest.raises(InputError, match=r"a.keras: .*torch.save\(model.state_dict\(\), 'model.pt'\)"):
        again(tmp_path, tmp_path / "own")

    def save(folder: Path, index: int) -> None:
        model.set_weights([np.random.default_rng(index).normal(size=w.shape) for w in model.get_weights()])
        torch.save(model.state_dict(), folder / f"epoch-{index}.pt")

    made = written_back(tmp_path, save)
    model.load_state_dict(torch.load(made.path / made.info.files[1], weights_only=True))
    assert_loaded(model, made[1])


def test_sentence_transformers(tmp_path: Path) -> None:
    """Its folders say in files of their own how tokens are pooled."""
    sentences = pytest.importorskip("sentence_transformers")
    models = import_module("sentence_transformers.models")
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    start = tmp_path / "start"
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(start)
    (start / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n")
    transformers.BertTokenizerFast(vocab_file=str(start / "vocab.txt")).save_pretrained(start)
    pooling = models.Pooling(16, pooling_mode="cls")
    model = sentences.SentenceTransformer(modules=[models.Transformer(str(start)), pooling], device="cpu")

    def save(folder: Path, index: int) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
        model.save(str(folder / f"checkpoint-{index}"))

    made = written_back(tmp_path, save)
    loaded = sentences.SentenceTransformer(str(made.path / made.info.files[0]), device="cpu")
    assert loaded[1].get_config_dict() == pooling.get_config_dict()
    assert loaded.encode("a b").shape == (16,)


def test_diffusers_adapters(tmp_path: Path) -> None:
    """Their scale stands in the text of the header."""
    diffusers = pytest.importorskip("diffusers")
    peft = pytest.importorskip("peft")
    from diffusers.training_utils import _collate_lora_metadata

    pipeline = diffusers.StableDiffusionPipeline
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 8}

    def network() -> Any:
        return diffusers.UNet2DConditionModel(**blocks, **sizes, cross_attention_dim=8, attention_head_dim=2)

    adapted = network()
    adapted.add_adapter(peft.LoraConfig(r=2, lora_alpha=16, target_modules=["to_q", "to_v"]))

    def save(folder: Path, index: int) -> None:
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora" in name:
                    parameter.copy_(torch.randn_like(parameter))
        pipeline.save_lora_weights(
            folder / f"checkpoint-{index}",
            unet_lora_layers=peft.get_peft_model_state_dict(adapted),
            **_collate_lora_metadata({"unet": adapted}),
        )

    made = written_back(tmp_path, save)
    state, alphas, metadata = pipeline.lora_state_dict(
        str(made.path / made.info.files[0]), return_lora_metadata=True
    )
    other = network()
    pipeline.load_lora_into_unet(state, alphas, other, metadata=metadata)
    assert [config.lora_alpha for config in other.peft_config.values()] == [16]


def test_a_part_of_a_diffusers_pipeline_is_said_to_be_written_alone(tmp_path: Path) -> None:
    for index in range(3):
        folder = tmp_path / f"ckpts/step-{index}"
        (folder / "unet").mkdir(parents=True)
        (folder / "model_index.json").write_text("{}")
        (folder / "unet/config.json").write_text("{}")
        save_file({"w": torch.randn(3)}, folder / "unet/diffusion_pytorch_model.safetensors")
    said = Said()
    made = generate(
        collect(tmp_path / "ckpts", out=tmp_path / "bank", progress=said),
        config=Config.preset("gaussian"),
        n=1,
        out=tmp_path / "made",
        format="source",
    )
    assert (made.path / made.info.files[0] / "diffusion_pytorch_model.safetensors").is_file()
    assert any("a part of a diffusers pipeline" in line and "in place of its unet/" in line for line in said)
