"""The two stages of a run: fit a codec to rows of the bank, then a denoiser to their latents."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pdiff import _core
from pdiff.bank import Bank, View
from pdiff.codecs import Codec, ConvCodec, PcaCodec, fit_pca
from pdiff.common.artifacts import read_tensors, write_tensors
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.common.progress import Progress
from pdiff.common.rng import normal, numpy_generator, seeded
from pdiff.diffusion import build_denoiser, build_process
from pdiff.training.draws import Draws, draw
from pdiff.training.interrupt import Interruption
from pdiff.training.loop import Trainer

__all__ = [
    "WEIGHTS",
    "Latents",
    "codec_stage",
    "encode_members",
    "latent_stage",
    "load_codec",
    "load_denoiser",
    "load_latents",
    "stage_seconds",
]

_CODEC = "codec.safetensors"
_DENOISER = "denoiser.safetensors"
_LATENTS = "latents.safetensors"
WEIGHTS = (_CODEC, _LATENTS, _DENOISER)
"""The files that a finished run consists of."""
_ENCODE_BATCH = 64


@dataclass(frozen=True)
class Latents:
    """The members' latents [K, Z] as the denoiser sees them, and how to undo their standardisation."""

    values: Tensor
    mean: Tensor
    std: Tensor

    def restore(self, values: Tensor) -> Tensor:
        """Map standardised latents [N, Z] back to the codec's own scale."""
        return values * self.std + self.mean


def codec_stage(
    members: View,
    config: Config,
    folder: Path,
    *,
    device: torch.device,
    progress: Progress,
    interruption: Interruption,
) -> Codec:
    """Return the run's codec: fitted to the members and written, unless its file is there already."""
    bank = members.bank
    if not (folder / _CODEC).exists():
        begin = time.perf_counter()
        if config.codec.kind == "pca":
            codec = fit_pca(bank, bank.normalizer(config.normalize), config.codec.latent_dim, members)
            _write(folder / _CODEC, codec.state_dict(), time.perf_counter() - begin)
        else:
            network = _new_conv(bank, config).to(device)
            draws = _conv_draws(members, config, device)
            loss = _conv_loss(draws, config, network)
            trainer = Trainer("codec", network, loss, config.codec_train, folder, waited=lambda: draws.waited)
            trainer.run(progress, interruption)
            _write(folder / _CODEC, network.state_dict(), trainer.seconds)
            trainer.finish()
    return load_codec(bank, config, folder, device)


def load_codec(bank: Bank, config: Config, folder: Path, device: torch.device) -> Codec:
    """Read the codec of a run, ready to encode and decode on `device`."""
    if config.codec.kind == "pca":
        tensors = read_tensors(folder / _CODEC)
        return PcaCodec(tensors["mean"].to(device), tensors["basis"].to(device))
    network = _new_conv(bank, config).to(device)
    _load(network, folder / _CODEC)
    return network.eval()


@torch.no_grad()
def encode_members(
    members: View, codec: Codec, config: Config, folder: Path, device: torch.device
) -> Latents:
    """Encode every member, without noise and with BatchNorm's running statistics, and write the latents.

    With `generator.standardise`, each latent dimension is brought to mean 0 and std 1 over the members.
    """
    normalizer = members.normalizer(config.normalize)
    parts = []
    for begin in range(0, len(members), _ENCODE_BATCH):
        rows = members.batch(range(begin, min(begin + _ENCODE_BATCH, len(members))), normalizer)
        parts.append(codec.encode(rows.to(device)))
    values = torch.cat(parts)  # [K, Z]
    mean, std = torch.zeros_like(values[0]), torch.ones_like(values[0])
    if config.generator.standardise:
        std, mean = torch.std_mean(values, dim=0, correction=0)
        std = torch.where(std > 0, std, 1.0)
    latents = Latents((values - mean) / std, mean, std)
    write_tensors(folder / _LATENTS, vars(latents))
    return latents


def load_latents(folder: Path, device: torch.device) -> Latents:
    """Read the latents of a run."""
    return Latents(**{name: tensor.to(device) for name, tensor in read_tensors(folder / _LATENTS).items()})


def latent_stage(
    latents: Latents, config: Config, folder: Path, *, progress: Progress, interruption: Interruption
) -> None:
    """Fit the denoiser to the latents and write it, unless its file is there already."""
    if (folder / _DENOISER).exists():
        return
    network = _new_denoiser(latents.values.shape[1], config).to(latents.values.device)
    trainer = Trainer(
        "denoiser", network, _latent_loss(latents.values, config, network), config.train, folder
    )
    trainer.run(progress, interruption)
    _write(folder / _DENOISER, network.state_dict(), trainer.seconds)
    trainer.finish()


def load_denoiser(latent_dim: int, config: Config, folder: Path, device: torch.device) -> nn.Module:
    """Read the denoiser of a run, in eval mode."""
    network = _new_denoiser(latent_dim, config).to(device)
    _load(network, folder / _DENOISER)
    return network.eval()


def stage_seconds(folder: Path) -> tuple[float, float]:
    """Return how long the codec and the denoiser of a finished run trained, interruptions left out."""
    codec, denoiser = (float(_core.Checkpoint([folder / f]).metadata["seconds"]) for f in (_CODEC, _DENOISER))
    return codec, denoiser


def _write(path: Path, tensors: Mapping[str, Tensor], seconds: float) -> None:
    """Write the outcome of a stage; that it is there says that the stage is done."""
    write_tensors(path, tensors, {"seconds": f"{seconds:.3f}"})


def _load(module: nn.Module, path: Path) -> None:
    """Load the weights in `path`; raises `InputError` if they are not those of the module."""
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError:
        raise InputError(f"{path}: not the weights of this run's configuration; train it again") from None


def _conv_draws(members: View, config: Config, device: torch.device) -> Draws:
    normalizer, size = members.normalizer(config.normalize), config.codec_train.batch_size
    return Draws(members, normalizer, size, seed=config.seed, purpose="codec-batch", device=device)


def _conv_loss(draws: Draws, config: Config, network: ConvCodec) -> Callable[[int], Tensor]:
    """Return the loss of training step n: reconstruction of a batch under both noises."""

    def loss(step: int) -> Tensor:
        rows = draws(step)
        generator = numpy_generator(config.seed, "codec-noise", step)
        input_noise = normal(generator, rows.shape, rows.device)
        latent_noise = normal(generator, (len(rows), network.latent_dim), rows.device)
        return network.loss(
            rows, config.codec.input_noise * input_noise, config.codec.latent_noise * latent_noise
        )

    return loss


def _latent_loss(latents: Tensor, config: Config, network: nn.Module) -> Callable[[int], Tensor]:
    """Return the loss of training step n: the process's own, on a batch of (jittered) latents."""
    process = build_process(config.generator)

    def loss(step: int) -> Tensor:
        indices = draw(len(latents), config.train.batch_size, config.seed, "denoiser-batch", step)
        generator = numpy_generator(config.seed, "denoiser-noise", step)
        clean = latents[torch.from_numpy(indices)]
        if config.generator.jitter:
            clean = clean + config.generator.jitter * normal(generator, clean.shape, clean.device)
        return process.loss(network, clean, generator)

    return loss


def _new_conv(bank: Bank, config: Config) -> ConvCodec:
    with seeded(config.seed, "codec-init"):
        return ConvCodec(bank.dim, config.codec.latent_dim)


def _new_denoiser(latent_dim: int, config: Config) -> nn.Module:
    with seeded(config.seed, "denoiser-init"):
        return build_denoiser(config.generator, latent_dim)
