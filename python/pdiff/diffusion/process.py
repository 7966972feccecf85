"""A generative process: how a denoiser is trained and how latents are drawn with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pdiff.common.config import GeneratorConfig
from pdiff.common.rng import normal
from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser
from pdiff.diffusion.objective import Denoiser, ddpm_loss, flow_loss
from pdiff.diffusion.samplers import ddpm_states, flow_states, last
from pdiff.diffusion.schedule import Schedule, linear_schedule

__all__ = ["DdpmProcess", "FlowProcess", "Process", "build_denoiser", "build_process"]

Generators = Sequence[np.random.Generator]


class Process(Protocol):
    """Training loss and sampler that belong together."""

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the scalar loss of clean latents [B, Z]; times and noise come from `generator`."""

    @property
    def steps(self) -> int:
        """Steps from noise to latents."""

    def states(
        self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device
    ) -> Iterator[Tensor]:
        """Yield [N, dim] on `device` before the first step and after each; one generator draws one row."""

    def sample(self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device) -> Tensor:
        """Draw one latent with each generator, the last of the states: → [N, dim] on `device`."""


@dataclass(frozen=True)
class DdpmProcess:
    """Denoising diffusion with ε-prediction and uniform timesteps (Ho et al. 2020)."""

    schedule: Schedule

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the noise-prediction loss."""
        index = torch.from_numpy(generator.integers(self.schedule.timesteps, size=len(clean)))
        noise = normal(generator, clean.shape, clean.device)
        return ddpm_loss(denoiser, self.schedule, clean, index.to(clean.device), noise)

    @property
    def steps(self) -> int:
        """T."""
        return self.schedule.timesteps

    def states(
        self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the states of the ancestral reverse process."""

        def noise() -> Tensor:
            return _normals(dim, generators, device)

        return ddpm_states(denoiser, self.schedule, noise(), noise)

    def sample(self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device) -> Tensor:
        """Run the ancestral reverse process."""
        return last(self.states(denoiser, dim, generators, device))


@dataclass(frozen=True)
class FlowProcess:
    """Flow matching along straight lines, integrated with `steps` midpoint steps."""

    steps: int

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the velocity-prediction loss."""
        time = torch.from_numpy(generator.random(len(clean), dtype=np.float32))
        noise = normal(generator, clean.shape, clean.device)
        return flow_loss(denoiser, clean, time.to(clean.device), noise)

    def states(
        self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the states of the integration."""
        return flow_states(denoiser, self.steps, _normals(dim, generators, device))

    def sample(self, denoiser: Denoiser, dim: int, generators: Generators, device: torch.device) -> Tensor:
        """Integrate from noise to data."""
        return last(self.states(denoiser, dim, generators, device))


def _normals(dim: int, generators: Generators, device: torch.device) -> Tensor:
    """Draw a row of standard normals with each generator: → [N, dim]."""
    return torch.stack([normal(generator, (dim,), device) for generator in generators])


def build_process(config: GeneratorConfig) -> Process:
    """Return the process that the configuration names."""
    if config.kind == "ddpm":
        return DdpmProcess(linear_schedule(config.timesteps, config.beta_first, config.beta_last))
    return FlowProcess(config.timesteps)


def build_denoiser(config: GeneratorConfig, latent_dim: int) -> nn.Module:
    """Return a freshly initialised denoiser for latents of `latent_dim` numbers."""
    if config.denoiser == "conv":
        return ConvDenoiser(latent_dim, config.timesteps)
    return MlpDenoiser(latent_dim, config.width, config.depth)
