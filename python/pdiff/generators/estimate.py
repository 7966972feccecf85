"""Plan a fit before it is begun: what each stage takes, from the sizes of its networks alone."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pdiff.bank import View
from pdiff.codecs.conv import ConvAutoencoder, activations, micro_batch
from pdiff.codecs.token import cut
from pdiff.codecs.token_autoencoder import TokenAutoencoder
from pdiff.common.config import (
    AnyConfig,
    ConvCodecConfig,
    IdentityCodecConfig,
    LatentConfig,
    Optimisation,
    PcaCodecConfig,
    TokenCodecConfig,
)
from pdiff.common.errors import UsageError
from pdiff.common.threads import multiplications, on_threads
from pdiff.common.wording import counted, seconds_text, size_text
from pdiff.diffusion import build_denoiser
from pdiff.generators.stages import cheaper, conditions_of

_SIDE = 512
_SHARE = 0.4
"""Of the speed of a large matrix product, what networks of a few layers reach."""
_BYTES = 16
"""A parameter in training: its value, its gradient and two moments, f32."""
_LAYER = 2 * 16
"""Numbers that a token leaves in a layer of encoder and decoder, for each of its width."""
_SCRATCH = 2
"""Times its activations, what the backward pass of a network takes in all."""


@dataclass(frozen=True)
class Stage:
    """What a stage of a fit takes."""

    name: str
    steps: int
    parameters: int
    work: Callable[[], int]
    """Counts its multiplications in all, for which torch imports much."""
    memory: int
    """Bytes, beyond those of the bank."""

    @property
    def disk(self) -> int:
        """Bytes of its file."""
        return 4 * self.parameters

    def line(self, speed: float) -> str:
        """Say it, with the time that it takes at `speed` multiplications a second."""
        seconds = self.work() / speed
        if not self.steps:
            return f"{self.name}: principal components, about {seconds_text(max(seconds, 1))}"
        what = f"{counted(self.steps, 'step')} of {counted(self.parameters, 'parameter')}"
        step = seconds_text(seconds / self.steps)
        took = f"roughly {seconds_text(seconds)} on this CPU ({step} a step)"
        return f"{self.name}: {what}, {took}, {size_text(self.memory)} of memory"


def plan(config: LatentConfig, members: View) -> list[Stage]:
    """Return the stages of fitting `config`, without building a network.

    Raises `UsageError` for conditions that the members do not have.
    """
    conditions_of(config, members, torch.device("cpu"))
    z, stages = latent_dim(config, members), []
    with torch.device("meta"):
        if isinstance(config.codec, ConvCodecConfig):
            how, dim = config.codec.train, members.dim
            codec, rows = ConvAutoencoder(dim, z), torch.empty(how.batch_size, dim)
            together = min(how.batch_size, micro_batch(dim))
            memory = 4 * dim * (_SCRATCH * together * activations() + 4 * how.batch_size)
            found = _trained("codec", how, codec, lambda: codec.decode(codec.encode(rows)))
            stages.append(replace(found, memory=found.memory + memory))
        elif isinstance(config.codec, PcaCodecConfig):
            count = len(members)
            memory = 4 * members.dim + 8 * count**2
            stages.append(Stage("codec", 0, 0, lambda: count**2 * members.dim, memory))
        elif isinstance(config.codec, TokenCodecConfig):
            stages.append(_of_tokens(config.codec, members))
        denoiser = build_denoiser(config.denoiser, z, config.diffusion.timesteps)
        batch = torch.empty(config.train.batch_size, z)
        stages.append(_trained("denoiser", config.train, denoiser, lambda: denoiser(batch, batch[:, 0])))
    return stages


def estimates(config: AnyConfig, members: View) -> list[str]:
    """Return a line for each stage of fitting `config`: steps, and roughly how long and how much memory."""
    if not isinstance(config, LatentConfig):
        return [f"{config.family}: has no steps of its own to count"]
    stages, speed = plan(config, members), _SHARE * _multiplications_per_second()
    disk = f"{size_text(sum(stage.disk for stage in stages))} on disk, four times as much while training"
    return [*(stage.line(speed) for stage in stages), disk, *filter(None, [cheaper(config, members)])]


def require_memory(stages: Sequence[Stage], device: torch.device) -> None:
    """Raise `UsageError` if a stage takes more memory than `device` has left."""
    there = available(device)
    for stage in stages:
        if there is not None and stage.memory > there:
            raise UsageError(
                f"the {stage.name} takes some {size_text(stage.memory)} and {size_text(there)} are free; a "
                "smaller latent (--set codec.latent_dim=…) or principal components (--set codec.kind=pca) "
                "take less"
            )


def available(device: torch.device) -> int | None:
    """Return the bytes that are free on `device`; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):
        pages = os.sysconf_names.get("SC_PHYS_PAGES")
        return None if pages is None else os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return 1024 * kilobytes


def latent_dim(config: LatentConfig, members: View) -> int:
    """Return Z, or the most that it can be."""
    if isinstance(config.codec, IdentityCodecConfig):
        return members.dim
    if isinstance(config.codec, PcaCodecConfig):
        return min(config.codec.latent_dim, len(members) - 1)
    if isinstance(config.codec, TokenCodecConfig):
        return len(cut(members.layout, config.codec.size)) * config.codec.latent
    return config.codec.latent_dim


def _of_tokens(config: TokenCodecConfig, members: View) -> Stage:
    """Return the stage of a token codec: principal axes of each token, and a network trained on windows."""
    tokens = cut(members.layout, config.size)
    network = TokenAutoencoder(tokens, members.layout, config)
    batch = torch.empty(config.train.batch_size, network.length, config.axes)
    which = torch.zeros(config.train.batch_size, dtype=torch.long)
    found = _trained("codec", config.train, network, lambda: network.reconstruct(batch, which))
    numbers = config.train.batch_size * network.length * config.width * config.depth * _LAYER
    kept = len(tokens) * config.axes * len(members)
    return replace(found, memory=found.memory + 4 * (_SCRATCH * numbers + 3 * kept) + 8 * len(members) ** 2)


def _trained(name: str, how: Optimisation, network: nn.Module, forward: Callable[[], object]) -> Stage:
    """Return a stage that trains `network`, with the memory of its parameters."""
    size = sum(each.numel() for each in network.parameters())

    def work() -> int:
        with torch.device("meta"):
            return 3 * how.steps * sum(multiplications(network, forward))  # two products backward

    return Stage(name, how.steps, size, work, _BYTES * size)


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
