"""Turn the coordinates of tokens into latents and back: a transformer over windows of neighbouring tokens."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdiff._core import Layout
from pdiff.common.config import TokenCodecConfig
from pdiff.common.torch_rng import Random

_AXES = 4
"""Axes of a tensor's shape that its tokens are told: the last ones."""
_WAVES = 8
"""Frequencies of the sines and cosines that tell a token which piece of its tensor it is."""
_TOGETHER = 64
"""Windows that go through without gradients together."""


class Token(NamedTuple):
    """Columns of a row that are a piece of one tensor."""

    begin: int
    end: int
    tensor: int
    """The tensor's place in the layout."""
    piece: int
    """Which piece of the tensor, from the first."""


class TokenAutoencoder(nn.Module):
    """Two transformers with a bottleneck of Z / T numbers a token between them.

    Each token is told its tensor (a learned vector), its place in it and the shapes of both. T tokens are cut
    into windows of nearly equal length W, padded with zeros; a token sees the others of its window.
    """

    def __init__(self, tokens: Sequence[Token], layout: Layout, config: TokenCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.count = len(tokens)
        self.windows = math.ceil(self.count / config.window)
        self.length = math.ceil(self.count / self.windows)
        tensors = torch.tensor([token.tensor for token in tokens])
        told = torch.stack([_told(token, layout.segments[token.tensor].shape) for token in tokens])
        self.tensors: Tensor
        self.told: Tensor
        self.real: Tensor
        self.register_buffer("tensors", self.windowed(tensors[None, :, None])[..., 0], persistent=False)
        self.register_buffer("told", self.windowed(told[None]), persistent=False)
        self.register_buffer("real", self.windowed(torch.ones(1, self.count, 1)), persistent=False)
        self.tensor = nn.Embedding(len(layout.segments), config.width)
        self.place = nn.Linear(told.shape[1], config.width)
        self.entry = nn.Linear(config.axes, config.width)
        self.encoder = _transformer(config)
        self.code = nn.Linear(config.width, config.latent)
        self.uncode = nn.Linear(config.latent, config.width)
        self.decoder = _transformer(config)
        self.exit = nn.Linear(config.width, config.axes)

    def windowed(self, tokens: Tensor) -> Tensor:
        """Cut tokens [B, T, …] into windows, those of one row in a row: → [B · windows, W, …]."""
        padded = nn.functional.pad(tokens, (0, 0, 0, self.windows * self.length - self.count))
        return padded.reshape(-1, self.length, tokens.shape[-1])

    def joined(self, windows: Tensor) -> Tensor:
        """Undo `windowed`."""
        return windows.reshape(-1, self.windows * self.length, windows.shape[-1])[:, : self.count]

    def encode(self, windows: Tensor) -> Tensor:
        """Map the coordinates of whole rows, in windows [N, W, A], to latents [N, W, Z / T]."""
        return self._whole(self._encode, windows)

    def decode(self, codes: Tensor) -> Tensor:
        """Map the latents of whole rows, in windows [N, W, Z / T], to coordinates [N, W, A]."""
        return self._whole(self._decode, codes)

    def loss(self, windows: Tensor, shares: Tensor, which: Tensor, random: Random) -> Tensor:
        """Return the share of the tokens' variance that is lost, a mean over tokens.

        `windows` [N, W, A] are coordinates of std 1 over the members, `shares` [N, W, A] what of a token's
        variance lies along each axis, and `which` [N] says where in a row the windows are. Input and latent
        have noise of the configured size, as in the paper's autoencoder.
        """
        noisy = windows + self.config.input_noise * random.normal(*windows.shape)
        noise = self.config.latent_noise * random.normal(*windows.shape[:2], self.config.latent)
        decoded = self.reconstruct(noisy, which, noise)
        return (shares * (decoded - windows).square()).sum() / self.real[which].sum()

    def reconstruct(self, windows: Tensor, which: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Encode windows [N, W, A], add noise to the latents, and decode them."""
        return self._decode(self._encode(windows, which) + noise, which)

    def _whole(self, run: Callable[[Tensor, Tensor], Tensor], windows: Tensor) -> Tensor:
        """Run on the windows of whole rows, some at a time."""
        which = torch.arange(len(windows), device=windows.device) % self.windows
        parts = zip(*(torch.split(each, _TOGETHER) for each in (windows, which)), strict=True)
        return torch.cat([run(*part) for part in parts])

    def _encode(self, windows: Tensor, which: Tensor) -> Tensor:
        codes: Tensor = self.code(self.encoder(self.entry(windows) + self._places(which)))
        return codes * self.real[which]

    def _decode(self, codes: Tensor, which: Tensor) -> Tensor:
        windows: Tensor = self.exit(self.decoder(self.uncode(codes * self.real[which]) + self._places(which)))
        return windows

    def _places(self, which: Tensor) -> Tensor:
        """Return what tokens are told of themselves: [N, W, width]."""
        told: Tensor = self.tensor(self.tensors[which]) + self.place(self.told[which])
        return told


def _told(token: Token, shape: Sequence[int]) -> Tensor:
    """Return a token's length, the last axes of its tensor's shape and which piece it is, as numbers."""
    sizes = [token.end - token.begin, *shape[-_AXES:]]
    logs = torch.tensor([math.log2(1 + size) / 10 for size in sizes] + [0.0] * (1 + _AXES - len(sizes)))
    angles = token.piece * 2.0 ** -torch.arange(_WAVES)
    return torch.cat([logs, angles.sin(), angles.cos()])


def _transformer(config: TokenCodecConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        4 * config.width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(config.width), enable_nested_tensor=False)
