"""Fit the two stages of latent diffusion: a codec to rows of the bank, then a denoiser to their latents.

A stage whose file is in the context's folder already is read from it. Without a folder all stays in memory.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.bank.stream import Draws
from pdiff.codecs import Codec, ConvCodec, PcaCodec, fit_pca
from pdiff.common.artifacts import read_record, read_tensors, write_json, write_tensors
from pdiff.common.config import LatentConfig
from pdiff.common.errors import InputError
from pdiff.common.rng import Random, numpy_generator, seeded
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.diffusion import ConvDenoiser, MlpDenoiser, build_denoiser, build_process
from pdiff.generators.base import Context
from pdiff.training.trainer import Trainer

CODEC = "codec.safetensors"
DENOISER = "denoiser.safetensors"
LATENTS = "latents.safetensors"
SECONDS = ".seconds.json"
"""Instead of the suffix of a stage's file: what it took."""
_ENCODE_BATCH = 64

Denoiser = ConvDenoiser | MlpDenoiser


@dataclass(frozen=True)
class Latents:
    """The members' latents [K, Z] as the denoiser sees them, and how to undo their standardisation."""

    values: Tensor
    mean: Tensor
    std: Tensor

    def restore(self, values: Tensor) -> Tensor:
        """Map standardised latents [N, Z] back to the codec's own scale."""
        return values * self.std + self.mean


def fit_codec(config: LatentConfig, members: View, context: Context) -> tuple[Codec, float]:
    """Return the codec of the members' rows, ready to encode on the context's device, and its seconds."""
    if config.codec.kind == "pca":
        return _fit_pca(config, members, context)
    with seeded(config.seed, "codec-init"):
        network = ConvCodec(members.dim, config.codec.latent_dim).to(context.device)

    def trainer() -> Trainer:
        size = config.codec_train.batch_size
        drawn = partial(_drawn, len(members), size, config.seed, "codec-batch")
        draws = Draws(members, members.normalizer(config.normalize), size, drawn, context.device)
        loss, waited = _codec_loss(draws, config, network), lambda: draws.waited
        training, hint = config.codec_train, cheaper(config, members)
        return Trainer("codec", network, loss, training, context.folder, waited=waited, cheaper=hint)

    rows = torch.zeros(config.codec_train.batch_size, members.dim, device=context.device)
    with on_threads(suitable_threads(network, lambda: network.decode(network.encode(rows)))):
        return network, _train(network, CODEC, trainer, context)


def _fit_pca(config: LatentConfig, members: View, context: Context) -> tuple[Codec, float]:
    path = None if context.folder is None else context.folder / CODEC
    if path is not None and path.exists():
        return PcaCodec(**read_tensors(path)).to(context.device), _seconds(path)
    begin = time.perf_counter()
    codec = fit_pca(members, config.normalize, config.codec.latent_dim).to(context.device)
    seconds = time.perf_counter() - begin
    if path is not None:
        _write_stage(path, codec.state_dict(), seconds)
    return codec, seconds


@torch.no_grad()
def fit_latents(config: LatentConfig, members: View, codec: Codec, context: Context) -> Latents:
    """Encode every member, without noise and with BatchNorm's running statistics.

    With `diffusion.standardise`, each latent dimension is brought to mean 0 and std 1 over the members.
    """
    path = None if context.folder is None else context.folder / LATENTS
    if path is not None and path.exists():
        return Latents(**{name: tensor.to(context.device) for name, tensor in read_tensors(path).items()})
    normalizer = members.normalizer(config.normalize)
    parts = []
    for begin in range(0, len(members), _ENCODE_BATCH):
        rows = members.batch(range(begin, min(begin + _ENCODE_BATCH, len(members))), normalizer)
        parts.append(codec.encode(rows.to(context.device)))
    values = torch.cat(parts)  # [K, Z]
    mean, std = torch.zeros_like(values[0]), torch.ones_like(values[0])
    if config.diffusion.standardise:
        std, mean = torch.std_mean(values, dim=0, correction=0)
        std = torch.where(std > 0, std, 1.0)
    latents = Latents((values - mean) / std, mean, std)
    if path is not None:
        write_tensors(path, vars(latents))
    return latents


def fit_denoiser(
    config: LatentConfig, members: View, latents: Latents, context: Context
) -> tuple[Denoiser, float]:
    """Return a denoiser of the latents, in eval mode, and the seconds that training took."""
    values = latents.values
    with seeded(config.seed, "denoiser-init"):
        network = build_denoiser(config.diffusion, values.shape[1]).to(values.device)

    def trainer() -> Trainer:
        loss = _denoiser_loss(values, config, network)
        hint = cheaper(config, members)
        return Trainer("denoiser", network, loss, config.train, context.folder, cheaper=hint)

    batch = values.new_zeros(config.train.batch_size, values.shape[1])
    with on_threads(suitable_threads(network, lambda: network(batch, batch[:, 0]))):
        return network, _train(network, DENOISER, trainer, context)


def _write_stage(path: Path, tensors: Mapping[str, Tensor], seconds: float) -> None:
    """Write the outcome of a stage; that it is there says that the stage is done.

    Its seconds stand beside it until the run's result has them: files of equal runs are equal.
    """
    write_json(path.with_suffix(SECONDS), seconds)
    write_tensors(path, tensors)


def _seconds(path: Path) -> float:
    """Return the seconds that the stage in a file took; 0 once the run's result has them."""
    beside = path.with_suffix(SECONDS)
    return read_record(beside, float) if beside.exists() else 0.0


def _train(network: nn.Module, name: str, trainer: Callable[[], Trainer], context: Context) -> float:
    """Bring a network to the end of its stage, in eval mode; return its seconds, interruptions left out.

    Its weights are read from the stage's file, or trained and written there. Raises `InputError` if those
    in the file are not of this network.
    """
    path = None if context.folder is None else context.folder / name
    if path is None or not path.exists():
        training = trainer()
        training.run(context.progress, context.interruption)
        if path is None:
            return training.seconds
        _write_stage(path, network.state_dict(), training.seconds)
        training.finish()
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError:
        raise InputError(f"{path}: not the weights of this run's configuration; train it again") from None
    network.eval()
    return _seconds(path)


def cheaper(config: LatentConfig, members: View) -> str:
    """Say roughly how long the default preset would take on one core: its steps, and the Gram matrix."""
    if config.codec.kind == "pca" and config.diffusion.denoiser == "mlp":
        return ""
    seconds = 30 + len(members) ** 2 * members.dim / 2e10
    return f"`--preset default` takes about {seconds:,.0f} s"


def _drawn(members: int, size: int, seed: int, purpose: str, step: int) -> npt.NDArray[np.int64]:
    """Draw the members of the batch of training step `step`; distinct, if there are enough.

    Steps are independent of each other and every batch is full, however few members there are: in epochs, a
    bank with fewer members than a batch would have less than one step.
    """
    return numpy_generator(seed, purpose, step).choice(members, size, replace=size > members)


def _codec_loss(draws: Draws, config: LatentConfig, network: ConvCodec) -> Callable[[int], Tensor]:
    """Return the loss of training step n: reconstruction of a batch under both noises."""

    def loss(step: int) -> Tensor:
        rows = draws(step)
        random = Random(config.seed, "codec-noise", step, rows.device)
        input_noise = random.normal(*rows.shape)
        latent_noise = random.normal(len(rows), network.latent_dim)
        return network.loss(
            rows, config.codec.input_noise * input_noise, config.codec.latent_noise * latent_noise
        )

    return loss


def _denoiser_loss(latents: Tensor, config: LatentConfig, network: nn.Module) -> Callable[[int], Tensor]:
    """Return the loss of training step n: the process's own, on a batch of (jittered) latents."""
    process = build_process(config.diffusion)

    def loss(step: int) -> Tensor:
        indices = _drawn(len(latents), config.train.batch_size, config.seed, "denoiser-batch", step)
        random = Random(config.seed, "denoiser-noise", step, latents.device)
        clean = latents[torch.from_numpy(indices)]
        if config.diffusion.jitter:
            clean = clean + config.diffusion.jitter * random.normal(*clean.shape)
        return process.loss(network, clean, random)

    return loss
