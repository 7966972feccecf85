"""Estimate what training will cost before it is begun, from the sizes of its networks alone."""

import time
from collections.abc import Callable

import torch
from torch import nn

from pdiff.bank import View
from pdiff.codecs.conv import ConvAutoencoder
from pdiff.common.config import (
    AnyConfig,
    ConvCodecConfig,
    IdentityCodecConfig,
    LatentConfig,
    Optimisation,
    PcaCodecConfig,
)
from pdiff.common.threads import multiplications, on_threads
from pdiff.common.wording import counted, seconds_text, size_text
from pdiff.diffusion import build_denoiser
from pdiff.generators.stages import cheaper

_SIDE = 512
_SHARE = 0.4
"""Of the speed of a large matrix product, what networks of a few layers reach."""
_BYTES = 16
"""A parameter in training: its value, its gradient and two moments, f32."""


def estimates(config: AnyConfig, members: View) -> list[str]:
    """Return a line for each stage of fitting `config`: steps, and roughly how long and how much memory."""
    if not isinstance(config, LatentConfig):
        return [f"{config.family}: has no steps of its own to count"]
    z, lines, speed = latent_dim(config, members), [], _SHARE * _multiplications_per_second()
    with torch.device("meta"):
        if isinstance(config.codec, ConvCodecConfig):
            training = config.codec.train
            codec, rows = ConvAutoencoder(members.dim, z), torch.empty(training.batch_size, members.dim)
            lines.append(_line("codec", training, codec, lambda: codec.decode(codec.encode(rows)), speed))
        elif isinstance(config.codec, PcaCodecConfig):
            seconds = len(members) ** 2 * members.dim / speed
            lines.append(f"codec: principal components, about {seconds_text(max(seconds, 1))}")
        denoiser = build_denoiser(config.denoiser, z, config.diffusion.timesteps)
        batch = torch.empty(config.train.batch_size, z)
        lines.append(_line("denoiser", config.train, denoiser, lambda: denoiser(batch, batch[:, 0]), speed))
    return [*lines, *filter(None, [cheaper(config, members)])]


def latent_dim(config: LatentConfig, members: View) -> int:
    """Return Z, or the most that it can be."""
    if isinstance(config.codec, IdentityCodecConfig):
        return members.dim
    if isinstance(config.codec, PcaCodecConfig):
        return min(config.codec.latent_dim, len(members) - 1)
    return config.codec.latent_dim


def _line(
    name: str, training: Optimisation, network: nn.Module, forward: Callable[[], object], speed: float
) -> str:
    size = sum(each.numel() for each in network.parameters())
    work = 3 * training.steps * sum(multiplications(network, forward))  # forward, and two products backward
    time_and_memory = (
        f"roughly {seconds_text(work / speed)} on this CPU, {size_text(_BYTES * size)} of memory"
    )
    return f"{name}: {counted(training.steps, 'step')} of {counted(size, 'parameter')}, {time_and_memory}"


def _multiplications_per_second() -> float:
    """Return how many multiplications one thread does in a second, now, beside whatever else runs."""
    matrix = torch.ones(_SIDE, _SIDE)
    times = []
    with on_threads(1):
        for _ in range(9):
            begin = time.perf_counter()
            _ = matrix @ matrix
            times.append(time.perf_counter() - begin)
    return float(_SIDE**3 / min(times))
