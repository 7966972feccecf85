"""Diffusion and flow matching over latents; knows nothing of checkpoints or codecs."""

from torch import nn

from pdiff.common.config import DiffusionConfig
from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser
from pdiff.diffusion.process import DdpmProcess, FlowProcess, Process, linear_schedule

__all__ = ["Process", "build_denoiser", "build_process"]


def build_process(config: DiffusionConfig) -> Process:
    """Return the process that the configuration names."""
    if config.kind == "ddpm":
        return DdpmProcess(linear_schedule(config.timesteps, config.beta_first, config.beta_last))
    return FlowProcess(config.timesteps)


def build_denoiser(config: DiffusionConfig, latent_dim: int) -> nn.Module:
    """Return a freshly initialised denoiser for latents of `latent_dim` numbers."""
    if config.denoiser == "conv":
        return ConvDenoiser(latent_dim, config.timesteps)
    return MlpDenoiser(latent_dim, config.width, config.depth)
