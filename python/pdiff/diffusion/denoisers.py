"""Predict noise or velocity [B, Z] from noisy latents [B, Z] and times [B]: two networks."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdiff.common.config import DiffusionConfig

_KERNEL = 7
_CHANNELS = (1, 64, 128, 256, 512, 256, 128, 64, 1)
_EMBEDDING = 256


def sinusoidal_embedding(time: Tensor, dim: int, scale: float = 1000.0) -> Tensor:
    """Embed times [B] in [0, 1] as sines and cosines (Vaswani et al. 2017) of `scale` · time: → [B, dim]."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angles = scale * time.unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ConvDenoiser(nn.Module):
    """The paper's denoiser: a 1-D CNN that sees the latent as a sequence of Z numbers with one channel.

    Channels 1-64-128-256-512-256-128-64-1, kernel 7, BatchNorm and ELU, skip connections between layers of
    equal width, the time embedding (256 → MLP → Z) added to every layer's input. 2,462,977 parameters at
    Z = 128. `timesteps` is T: the embedding sees t itself.
    """

    block = 4
    """Rows that are sampled together: more of them cost as many times as much, on a CPU."""

    def __init__(self, latent_dim: int, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.time = nn.Sequential(
            nn.Linear(_EMBEDDING, latent_dim), nn.ELU(), nn.Linear(latent_dim, latent_dim)
        )
        pairs = list(pairwise(_CHANNELS))
        self.layers = nn.ModuleList(
            nn.Sequential(_conv(channels, out), nn.BatchNorm1d(out), nn.ELU()) for channels, out in pairs[:-1]
        )
        self.last = _conv(*pairs[-1])

    def forward(self, latents: Tensor, time: Tensor) -> Tensor:
        """Predict the noise in latents [B, Z] at times [B] or [1]: → [B, Z]."""
        embedded = self.time(sinusoidal_embedding(time, _EMBEDDING, self.timesteps)).unsqueeze(1)  # [B, 1, Z]
        hidden = latents.unsqueeze(1)
        kept: list[Tensor] = []
        middle = len(self.layers) // 2
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden + embedded)  # [B, C, Z]
            if number < middle:
                kept.append(hidden)
            elif number > middle:
                hidden = hidden + kept.pop()
        predicted: Tensor = self.last(hidden + embedded).squeeze(1)
        return predicted


def _conv(channels: int, out: int) -> nn.Conv1d:
    return nn.Conv1d(channels, out, _KERNEL, padding=_KERNEL // 2)


class MlpDenoiser(nn.Module):
    """A residual MLP: latents have no order, so nothing is gained by convolving over them."""

    block = 128
    """Rows that are sampled together: so many cost little more than one, on a CPU."""

    def __init__(self, latent_dim: int, width: int, depth: int) -> None:
        super().__init__()
        self.entry = nn.Linear(latent_dim, width)
        self.time = nn.Sequential(nn.Linear(_EMBEDDING, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.exit = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, latents: Tensor, time: Tensor) -> Tensor:
        """Predict noise or velocity of latents [B, Z] at times [B] or [1]: → [B, Z]."""
        embedded = self.time(sinusoidal_embedding(time, _EMBEDDING))
        hidden = self.entry(latents)
        for block in self.blocks:
            hidden = hidden + block(hidden + embedded)
        predicted: Tensor = self.exit(self.norm(hidden))
        return predicted


def build_denoiser(config: DiffusionConfig, latent_dim: int) -> ConvDenoiser | MlpDenoiser:
    """Return a freshly initialised denoiser for latents of `latent_dim` numbers."""
    match config.denoiser:
        case "conv":
            return ConvDenoiser(latent_dim, config.timesteps)
        case "mlp":
            return MlpDenoiser(latent_dim, config.width, config.depth)
