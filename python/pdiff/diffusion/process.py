"""A generative process: how a denoiser is trained and how latents are drawn with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pdiff.config import GeneratorConfig
from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser
from pdiff.diffusion.objective import Denoiser, ddpm_loss, flow_loss
from pdiff.diffusion.samplers import ddpm_sample, flow_sample
from pdiff.diffusion.schedule import Schedule, linear_schedule

__all__ = ["DdpmProcess", "FlowProcess", "Process", "build_denoiser", "build_process"]


class Process(Protocol):
    """Training loss and sampler that belong together."""

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of clean latents [B, Z]; times and noise come from `generator`."""

    def sample(self, denoiser: Denoiser, dim: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw one latent for each generator: → [N, dim] on the generators' device."""


@dataclass(frozen=True)
class DdpmProcess:
    """Denoising diffusion with ε-prediction and uniform timesteps (Ho et al. 2020)."""

    schedule: Schedule

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return the noise-prediction loss."""
        device = clean.device
        index = torch.randint(self.schedule.timesteps, (len(clean),), generator=generator, device=device)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        return ddpm_loss(denoiser, self.schedule, clean, index, noise)

    def sample(self, denoiser: Denoiser, dim: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Run the ancestral reverse process."""
        return ddpm_sample(
            denoiser, self.schedule, _normal(dim, generators), lambda: _normal(dim, generators)
        )


@dataclass(frozen=True)
class FlowProcess:
    """Flow matching along straight lines, integrated with `steps` midpoint steps."""

    steps: int

    def loss(self, denoiser: Denoiser, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return the velocity-prediction loss."""
        device = clean.device
        time = torch.rand(len(clean), generator=generator, device=device)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        return flow_loss(denoiser, clean, time, noise)

    def sample(self, denoiser: Denoiser, dim: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Integrate from noise to data."""
        return flow_sample(denoiser, self.steps, _normal(dim, generators))


def _normal(dim: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw a row of standard normals from each generator: → [N, dim]."""
    return torch.stack([torch.randn(dim, generator=g, device=g.device) for g in generators])


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
