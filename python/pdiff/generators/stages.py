"""Fit the two stages of latent diffusion: a codec to rows of the bank, then a denoiser to their latents.

A stage whose file is in the context's folder already is read from it. Without a folder all stays in memory.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.bank.conditions import Encoder
from pdiff.codecs import Codec, build_codec
from pdiff.common.artifacts import read_record, write_json
from pdiff.common.config import LatentConfig, MlpDenoiserConfig, Optimisation, PcaCodecConfig
from pdiff.common.errors import InputError
from pdiff.common.rng import drawn
from pdiff.common.tensors import read_tensors, write_tensors
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.common.torch_rng import Normals, Random, seeded
from pdiff.diffusion import Process, build_denoiser
from pdiff.diffusion.denoisers import Network
from pdiff.diffusion.samplers import last
from pdiff.generators.base import Context
from pdiff.training.health import Health, warnings
from pdiff.training.trainer import Trainer

CODEC = "codec.safetensors"
DENOISER = "denoiser.safetensors"
LATENTS = "latents.safetensors"
SECONDS = ".seconds.json"
"""Instead of the suffix of a stage's file: what it took."""
_LOOK_SAMPLES, _LOOK_STEPS = 32, 20
_TRIED = 2**20
"""Numbers of the rows that decide how many threads a codec trains on."""
_FOREIGN = "not of this run's configuration; train it again"


@dataclass(frozen=True)
class Latents:
    """The members' latents [K, Z] as the denoiser sees them, and how to undo their standardisation."""

    values: Tensor
    mean: Tensor
    std: Tensor

    def standardise(self, codes: Tensor) -> Tensor:
        """Map latents on the codec's own scale to those that the denoiser sees."""
        return (codes.to(self.mean) - self.mean) / self.std

    def restore(self, values: Tensor) -> Tensor:
        """Map standardised latents [N, Z] back to the codec's own scale."""
        return values * self.std + self.mean


def fit_codec(config: LatentConfig, members: View, context: Context) -> tuple[Codec, float]:
    """Return the codec of the members' rows, ready to encode on the context's device, and its seconds.

    Raises `InputError` if the one in the folder is of another configuration.
    """
    codec = build_codec(config.codec, members, config.normalize, config.seed, context.device)
    path = None if context.folder is None else context.folder / CODEC
    if path is not None and path.exists():
        try:
            codec.load(read_tensors(path))
        except (RuntimeError, KeyError):
            raise InputError(f"{path}: {_FOREIGN}") from None
        return codec, _seconds(path)
    begin, trainings = time.perf_counter(), list[Trainer]()

    def train(
        network: nn.Module,
        loss: Callable[[int], Iterable[Tensor]],
        how: Optimisation,
        waited: Callable[[], float],
    ) -> None:
        hint = cheaper(config, members)
        training = Trainer("codec", network, loss, how, context.folder, waited=waited, cheaper=hint)
        trainings.append(training)
        count = min(how.batch_size, max(1, _TRIED // members.dim))
        rows = torch.zeros(count, members.dim, device=context.device)
        with on_threads(suitable_threads(network, lambda: codec.decode(codec.encode(rows)))):
            training.run(context.progress, context.interruption)

    codec.fit(train, config.seed)
    seconds = trainings[0].seconds if trainings else time.perf_counter() - begin
    if path is not None:
        _write_stage(path, codec.state(), seconds)
        for training in trainings:
            training.finish()
        codec.load(read_tensors(path))
    return codec, seconds


@torch.no_grad()
def fit_latents(config: LatentConfig, members: View, codec: Codec, context: Context) -> Latents:
    """Encode every member, without noise and with BatchNorm's running statistics.

    With `diffusion.standardise`, each latent dimension is brought to mean 0 and std 1 over the members.
    """
    path = None if context.folder is None else context.folder / LATENTS
    if path is not None and path.exists():
        return Latents(**{name: tensor.to(context.device) for name, tensor in read_tensors(path).items()})
    values = codec.encode_view(members).to(context.device)  # [K, Z]
    mean, std = torch.zeros_like(values[0]), torch.ones_like(values[0])
    if config.diffusion.standardise:
        std, mean = torch.std_mean(values, dim=0, correction=0)
        std = torch.where(std > 0, std, 1.0)
    latents = Latents((values - mean) / std, mean, std)
    if path is not None:
        write_tensors(path, vars(latents))
    return latents


def fit_denoiser(
    config: LatentConfig, members: View, latents: Latents, context: Context, held_out: Tensor | None = None
) -> tuple[Network, float]:
    """Return a denoiser of the latents, in eval mode, and the seconds that training took.

    `held_out` are latents of members that are not learned from; the metrics have the loss on them. Raises
    `InputError` if the one in the folder is of another configuration.
    """
    values = latents.values
    known = conditions_of(config, members, values.device)
    with seeded(config.seed, "denoiser-init"):
        network = build_denoiser(
            config.denoiser,
            values.shape[1],
            config.diffusion.timesteps,
            0 if known is None else known.shape[1],
        )
        network.to(values.device)
    path = None if context.folder is None else context.folder / DENOISER
    seconds = 0.0
    if path is None or not path.exists():
        loss, hint = _denoiser_loss(values, known, config, network), cheaper(config, members)
        health = _health(config, latents, held_out) if config.check else None
        training = Trainer(
            "denoiser", network, loss, config.train, context.folder, cheaper=hint, health=health
        )
        batch = values.new_zeros(config.train.batch_size, values.shape[1])
        with on_threads(suitable_threads(network, lambda: network(batch, batch[:, 0]))):
            training.run(context.progress, context.interruption)
        seconds = training.seconds
        for warning in warnings(training.looks[-1]) if training.looks else ():
            context.progress.message(warning)
        if path is not None:
            _write_stage(path, network.state_dict(), seconds)
            training.finish()
    if path is not None:
        try:
            network.load_state_dict(read_tensors(path))
        except RuntimeError:
            raise InputError(f"{path}: {_FOREIGN}") from None
        seconds = _seconds(path)
    network.eval()
    return network, seconds


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


def cheaper(config: LatentConfig, members: View) -> str:
    """Say roughly how long the default preset would take on one core: its steps, and the Gram matrix."""
    if isinstance(config.codec, PcaCodecConfig) and isinstance(config.denoiser, MlpDenoiserConfig):
        return ""
    seconds = 30 + len(members) ** 2 * members.dim / 2e10
    return f"`--preset default` takes about {seconds:,.0f} s"


def _health(config: LatentConfig, latents: Latents, held_out: Tensor | None) -> Health:
    """Return what draws a few latents from a denoiser in training, in few steps."""
    process, values = Process(config.diffusion), latents.values
    sampler = msgspec.structs.replace(config.sampler, steps=min(config.sampler.steps, _LOOK_STEPS))

    def draw(network: nn.Module) -> Tensor:
        noise = Normals(config.seed, "health", range(_LOOK_SAMPLES), values.shape[1], values.device)
        return last(process.states(network, sampler, noise))

    def unseen(network: nn.Module) -> float:
        assert held_out is not None
        clean = held_out.repeat(-(-_LOOK_SAMPLES // len(held_out)), 1)
        return float(process.loss(network, clean, Random(config.seed, "held-out", 0, values.device)))

    return Health(draw, values, unseen if held_out is not None and len(held_out) else None)


def conditions_of(config: LatentConfig, members: View, device: torch.device) -> Tensor | None:
    """Return the vectors [K, C] of what members are conditioned on, None for nothing."""
    if not config.condition:
        return None
    return Encoder.of(members.members, config.condition).of_members(members.members).to(device)


def _denoiser_loss(
    latents: Tensor, known: Tensor | None, config: LatentConfig, network: nn.Module
) -> Callable[[int], Iterable[Tensor]]:
    """Return the loss of training step n: the process's own, on a batch of (jittered) latents.

    `known` [K, C] are the latents' conditions, which some are learned from without.
    """
    process = Process(config.diffusion)

    def loss(step: int) -> Iterable[Tensor]:
        indices = drawn(len(latents), config.train.batch_size, config.seed, "denoiser-batch", step)
        random = Random(config.seed, "denoiser-noise", step, latents.device)
        clean = latents[torch.from_numpy(indices)]
        if config.diffusion.jitter:
            clean = clean + config.diffusion.jitter * random.normal(*clean.shape)
        if known is None:
            return [process.loss(network, clean, random)]
        given = random.uniform(len(clean)) >= config.condition_dropout
        told = partial(network, condition=known[torch.from_numpy(indices)], given=given)
        return [process.loss(told, clean, random)]

    return loss
