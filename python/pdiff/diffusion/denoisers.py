"""Predict from noisy latents [B, Z] and times [B] what a process asks for, [B, Z]: three networks.

Each may be given a condition [B, C] too, or none, which it is also trained for (Ho & Salimans 2022).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdiff.common.config import (
    AnyDenoiserConfig,
    ConvDenoiserConfig,
    MlpDenoiserConfig,
    TransformerDenoiserConfig,
)

_KERNEL = 7
_CHANNELS = (1, 64, 128, 256, 512, 256, 128, 64, 1)
_EMBEDDING = 256


def sinusoidal_embedding(time: Tensor, dim: int, scale: float = 1000.0) -> Tensor:
    """Embed times [B] in [0, 1] as sines and cosines (Vaswani et al. 2017) of `scale` · time: → [B, dim]."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angles = scale * time.unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Embedding(nn.Module):
    """Embeds times, and conditions where there are any, into vectors that are added inside a network.

    `scale` is what a time of 1 is for the sines and cosines. Without a condition its part is 0.
    """

    def __init__(
        self, dim: int, activation: type[nn.Module], scale: float = 1000.0, conditions: int = 0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.time = nn.Sequential(nn.Linear(_EMBEDDING, dim), activation(), nn.Linear(dim, dim))
        self.condition = (
            nn.Sequential(nn.Linear(conditions, dim), activation(), nn.Linear(dim, dim))
            if conditions
            else None
        )

    def forward(self, time: Tensor, condition: Tensor | None, given: Tensor | None) -> Tensor:
        """Embed times [B] or [1] and conditions [B, C], where `given` [B] is true: → [B or 1, dim]."""
        embedded: Tensor = self.time(sinusoidal_embedding(time, _EMBEDDING, self.scale))
        if condition is None or self.condition is None:
            return embedded
        part: Tensor = self.condition(condition)
        return embedded + (part if given is None else part * given.unsqueeze(1))


class ConvDenoiser(nn.Module):
    """The paper's denoiser: a 1-D CNN that sees the latent as a sequence of Z numbers with one channel.

    Channels 1-64-128-256-512-256-128-64-1, kernel 7, BatchNorm and ELU, skip connections between layers of
    equal width, the time embedding (256 → MLP → Z) added to every layer's input. 2,462,977 parameters at
    Z = 128. `timesteps` is T: the embedding sees t itself.
    """

    block = 4
    """Rows that are sampled together: more of them cost as many times as much, on a CPU."""

    def __init__(self, latent_dim: int, timesteps: int, conditions: int = 0) -> None:
        super().__init__()
        self.embedding = Embedding(latent_dim, nn.ELU, timesteps, conditions)
        pairs = list(pairwise(_CHANNELS))
        self.layers = nn.ModuleList(
            nn.Sequential(_conv(channels, out), nn.BatchNorm1d(out), nn.ELU()) for channels, out in pairs[:-1]
        )
        self.last = _conv(*pairs[-1])

    def forward(
        self, latents: Tensor, time: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Predict for latents [B, Z] at times [B] or [1]: → [B, Z]."""
        embedded = self.embedding(time, condition, given).unsqueeze(1)  # [B, 1, Z]
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

    def __init__(self, latent_dim: int, width: int, depth: int, conditions: int = 0) -> None:
        super().__init__()
        self.entry = nn.Linear(latent_dim, width)
        self.embedding = Embedding(width, nn.SiLU, conditions=conditions)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.exit = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(
        self, latents: Tensor, time: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Predict for latents [B, Z] at times [B] or [1]: → [B, Z]."""
        embedded = self.embedding(time, condition, given)
        hidden = self.entry(latents)
        for block in self.blocks:
            hidden = hidden + block(hidden + embedded)
        predicted: Tensor = self.exit(self.norm(hidden))
        return predicted


class TransformerDenoiser(nn.Module):
    """A transformer over the latent cut into tokens of `token` numbers, padded with zeros at the end."""

    block = 32
    """Rows that are sampled together."""

    def __init__(self, latent_dim: int, config: TransformerDenoiserConfig, conditions: int = 0) -> None:
        super().__init__()
        self.latent_dim, self.token = latent_dim, (token := config.token)
        width = config.width
        tokens = math.ceil(latent_dim / token)
        self.padding = tokens * token - latent_dim
        self.entry = nn.Linear(token, width)
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.embedding = Embedding(width, nn.SiLU, conditions=conditions)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, config.depth, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.exit = nn.Linear(width, token)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(
        self, latents: Tensor, time: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Predict for latents [B, Z] at times [B] or [1]: → [B, Z]."""
        embedded = self.embedding(time, condition, given).unsqueeze(1)  # [B, 1, width]
        tokens = nn.functional.pad(latents, (0, self.padding)).reshape(len(latents), -1, self.token)
        hidden = self.layers(self.entry(tokens) + self.positions + embedded)
        predicted: Tensor = self.exit(hidden).flatten(1)[:, : self.latent_dim]
        return predicted


Network = ConvDenoiser | MlpDenoiser | TransformerDenoiser


def build_denoiser(
    config: AnyDenoiserConfig, latent_dim: int, timesteps: int, conditions: int = 0
) -> Network:
    """Return a freshly initialised denoiser of latents of `latent_dim` numbers.

    `timesteps` is T of the process; `conditions` is C, the numbers of a condition.
    """
    match config:
        case ConvDenoiserConfig():
            return ConvDenoiser(latent_dim, timesteps, conditions)
        case MlpDenoiserConfig():
            return MlpDenoiser(latent_dim, config.width, config.depth, conditions)
        case _:
            return TransformerDenoiser(latent_dim, config, conditions)
