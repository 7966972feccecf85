"""What `--format source` writes is loaded by the library whose checkpoints were collected. Random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.verification import verify
from tests.libraries.writing_back import MEMBERS, assert_loaded, network, written_back
from tests.support import Said

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("given", ["values", "omegaconf"])
def test_lightning(tmp_path: Path, given: str) -> None:
    lightning = pytest.importorskip("lightning")

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, width: int = 1, sizes: tuple[int, ...] = (), rate: float = 0.0) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Linear(3, width)

        def training_step(self, batch: Tensor, _: int) -> Tensor:
            return self.net(batch).square().mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.randn(8, 3), batch_size=4)

    values: dict[str, Any] = {"width": 5, "sizes": (1, 2), "rate": 1e-3}
    if given == "omegaconf":
        omegaconf = pytest.importorskip("omegaconf")
        values = dict(omegaconf.OmegaConf.create({"width": 5, "sizes": [1, 2], "rate": 1e-3}))

    def save(folder: Path, index: int) -> None:
        checkpoints = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=folder, filename=f"run-{index}")
        trainer = lightning.Trainer(
            max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[checkpoints], accelerator="cpu",
        )  # fmt: skip
        trainer.fit(Model(**values))

    made = written_back(tmp_path, save)
    for index, file in enumerate(made.info.files):
        model = Model.load_from_checkpoint(made.path / file, weights_only=True)
        assert_loaded(model, made[index])
        assert (model.hparams.width, model.hparams.rate) == (5, 1e-3)
        assert len(model.hparams.sizes) == 2 or given == "omegaconf"


def test_omegaconf_beside_the_weights(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"layers": [3, 4], "name": "net"})

    def save(folder: Path, index: int) -> None:
        content = {"cfg": config, "plain": omegaconf.OmegaConf.to_container(config), "step": index}
        torch.save(content | {"model": network().state_dict()}, folder / f"{index}.pt")

    made = written_back(tmp_path, save)
    loaded = torch.load(made.path / made.info.files[0], weights_only=True)
    assert omegaconf.OmegaConf.create(loaded["plain"]) == config
    assert "cfg" not in loaded
    module = network()
    module.load_state_dict(loaded["model"])
    assert_loaded(module, made[0])


@pytest.mark.parametrize("safe", [True, False])
def test_accelerate(tmp_path: Path, safe: bool) -> None:
    """A folder a step, as `save_state` leaves it: weights, optimiser, schedule and random states."""
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    module = network()
    model, _ = accelerator.prepare(module, torch.optim.Adam(module.parameters()))
    said = Said()

    def save(folder: Path, index: int) -> None:
        model.load_state_dict(network().state_dict())
        accelerator.save_state(str(folder / f"checkpoint_{index}"), safe_serialization=safe)

    made = written_back(tmp_path, save, progress=said)
    file = "model.safetensors" if safe else "pytorch_model.bin"
    assert any("folders like this one again, without optimizer.bin, random_states_0.pkl" in s for s in said)
    for index, name in enumerate(made.info.files):
        assert [path.name for path in (made.path / name).iterdir()] == [file]
        loaded = network()
        accelerate.load_checkpoint_in_model(loaded, str(made.path / name))
        assert_loaded(loaded, made[index])


def test_ema_pytorch(tmp_path: Path) -> None:
    """As lucidrains' trainers save: network, average and optimiser of one step in a file."""
    ema_pytorch = pytest.importorskip("ema_pytorch")

    def save(folder: Path, index: int) -> None:
        model = network()
        ema = ema_pytorch.EMA(model, update_every=1, update_after_step=0)
        ema.update()
        ema.update()
        content = {"step": 3, "model": model.state_dict(), "ema": ema.state_dict(), "version": "1.2"}
        torch.save(content, folder / f"model-{index}.pt")

    made = written_back(tmp_path, save)
    for index, file in enumerate(made.info.files):
        loaded = torch.load(made.path / file, weights_only=True)
        assert (loaded["step"], loaded["version"]) == (3, "1.2")
        ema = ema_pytorch.EMA(network())
        ema.load_state_dict(loaded["ema"])
        assert_loaded(ema.ema_model, {n: t for n, t in made[index].items() if "." in n}, "ema_model.")
        plain = network()
        plain.load_state_dict(loaded["model"])
        assert torch.equal(plain.state_dict()["0.weight"], ema.ema_model.state_dict()["0.weight"])


def test_transformers_checkpoints(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=60, max_position_embeddings=16, **sizes)

    def save(folder: Path, index: int) -> None:
        model = transformers.BertForMaskedLM(config)
        model.save_pretrained(folder / f"checkpoint-{index}")
        torch.save({}, folder / f"checkpoint-{index}/training_args.bin")

    made = written_back(tmp_path, save)
    for index, name in enumerate(made.info.files):
        model, info = transformers.BertForMaskedLM.from_pretrained(made.path / name, output_loading_info=True)
        assert not any(info.values())
        assert_loaded(model, made[index])


def test_diffusers_checkpoints(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 8}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}

    def save(folder: Path, index: int) -> None:
        model = diffusers.UNet2DModel(**sizes, **blocks)
        for name in ("unet", "unet_ema"):
            model.save_pretrained(folder / f"checkpoint-{index}" / name)
            with torch.no_grad():
                model.conv_in.weight.mul_(0.9)

    made = written_back(tmp_path, save)
    for index, name in enumerate(made.info.files):
        model = diffusers.UNet2DModel.from_pretrained(made.path / name, low_cpu_mem_usage=False)
        assert_loaded(model, made[index])


@pytest.mark.parametrize("method", ["PPO", "DQN"])
def test_stable_baselines_agents(tmp_path: Path, method: str) -> None:
    """A policy in the zip of an agent, with which the generated policies become whole agents."""
    agents = pytest.importorskip("stable_baselines3")
    kind = getattr(agents, method)

    def save(folder: Path, index: int) -> None:
        agent = kind("MlpPolicy", "CartPole-v1", seed=index, device="cpu", policy_kwargs={"net_arch": [8]})
        agent.save(folder / f"rl_model_{1000 * (index + 1)}_steps")

    made = written_back(tmp_path, save)
    for index, file in enumerate(made.info.files):
        assert file.endswith(".zip")
        agent = kind.load(made.path / file, env=agents.common.env_util.make_vec_env("CartPole-v1"))
        assert_loaded(agent.policy, made[index])
        assert agent.seed == MEMBERS - 1
        agent.learn(8 if method == "DQN" else 1)
    assert verify(made.path).bad == []
