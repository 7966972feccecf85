"""Build the U-Net of denoising diffusion (Ho et al., arXiv 2006.11239), small, for small pictures."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 8


class _Block(nn.Module):
    """Two convolutions with GroupNorm beside a shortcut; the time is added in between."""

    def __init__(self, channels: int, width: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.time = nn.Linear(time, width)
        self.norm2 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map [B, channels, H, W] and embedded times [B, time] to [B, width, H, W]."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y + self.time(time)[:, :, None, None])))
        return y + self.shortcut(x)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Predicts the noise in pictures of one channel and an even side, on two scales.

    An input is [2, H, W]: the noisy picture, and its time, from 0 to 1, in every pixel of the second plane,
    so that a batch is one tensor.
    """

    def __init__(self, width: int = 16, time: int = 64) -> None:
        super().__init__()
        self._frequencies = time // 2
        self.time = nn.Sequential(nn.Linear(time, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.fine = _Block(width, width, time)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(2 * width, 2 * width, time) for _ in range(2))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.joined = _Block(2 * width, width, time)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # so that an untrained network predicts no noise

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [B, 2, H, W] to the noise [B, 1, H, W]."""
        time = self.time(self._embedded(inputs[:, 1, 0, 0]))
        fine = self.fine(self.first(inputs[:, :1]), time)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, time)
        joined = torch.cat([fine, self.up(F.interpolate(coarse, scale_factor=2.0))], dim=1)
        return self.last(F.silu(self.norm(self.joined(joined, time))))  # type: ignore[no-any-return]

    def _embedded(self, time: Tensor) -> Tensor:
        """Return sines and cosines of times [B] in 0 to 1: [B, 2 · frequencies]."""
        powers = torch.arange(self._frequencies, device=time.device) / (self._frequencies - 1)
        angles = 1000 * time[:, None] * torch.exp(-math.log(10_000) * powers)
        return torch.cat([angles.sin(), angles.cos()], dim=1)
