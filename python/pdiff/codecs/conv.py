"""Compress rows by the paper's 1-D convolutional autoencoder.

It is trained with noise on its input and on its latent (*Neural Network Diffusion*, arXiv 2402.13144, section
2.2): z = f_φ(v + ξ_v), v' = f_π(z + ξ_z), MSE.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.bank.stream import Draws
from pdiff.codecs.base import Codec, Train, largest_power, pieces
from pdiff.common.config import ConvCodecConfig
from pdiff.common.rng import drawn
from pdiff.common.torch_rng import Random, seeded

_KERNEL = 7
_ENCODER = (1, 64, 128, 256, 256, 32)
_DECODER = (32, 256, 256, 128, 64, 64)
_FACTOR = 2 ** (len(_ENCODER) - 1)
_ACTIVATIONS = 2**28
"""Numbers that a micro-batch may leave for the backward pass: 1 GiB."""


class ConvCodec(Codec):
    """The paper's autoencoder as a codec, trained in micro-batches of rows that suit their length."""

    def __init__(
        self, members: View, kind: Normalization, config: ConvCodecConfig, seed: int, device: torch.device
    ) -> None:
        super().__init__(members, kind)
        self.config = config
        self.latent_dim = config.latent_dim
        self.device = device
        with seeded(seed, "codec-init"):
            self.network = ConvAutoencoder(members.dim, config.latent_dim).to(device)

    def fit(self, train: Train, seed: int) -> None:
        """Train it, and leave it in eval mode."""
        size = self.config.train.batch_size
        choose = partial(drawn, len(self.members), size, seed, "codec-batch")
        draws = Draws(self.members, self.normalizer, size, choose, self.device)
        train(self.network, partial(self._losses, draws, seed), self.config.train, lambda: draws.waited)

    def _losses(self, draws: Draws, seed: int, step: int) -> Iterator[Tensor]:
        """Yield the losses of a training step's micro-batches, weighted to add up to the batch's."""
        rows = draws(step)
        random = Random(seed, "codec-noise", step, rows.device)
        input_noise = self.config.input_noise * random.normal(*rows.shape)
        latent_noise = self.config.latent_noise * random.normal(len(rows), self.latent_dim)
        for part in pieces(len(rows), micro_batch(self.members.dim)):
            loss = self.network.loss(rows[part], input_noise[part], latent_noise[part])
            yield loss * ((part.stop - part.start) / len(rows))

    def encode(self, rows: Tensor) -> Tensor:
        """Map normalised rows [B, D] to latents [B, Z], on the codec's device."""
        return self.network.encode(rows.to(self.device))

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to normalised rows [B, D], on the codec's device."""
        return self.network.decode(latents)

    def state(self) -> Mapping[str, Tensor]:
        """Return the network's parameters and buffers."""
        return self.network.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over parameters and buffers, in eval mode."""
        self.network.load_state_dict(state)
        self.network.eval()


def micro_batch(dim: int) -> int:
    """Return how many rows of `dim` numbers go through the autoencoder together, a function of `dim` alone.

    Long rows go a few at a time, so that memory does not grow with the batch; BatchNorm then normalises over
    each few, and over the many places of a row. The gradients of a batch are added up.
    """
    return largest_power(_ACTIVATIONS // (dim * activations()))


def activations() -> int:
    """Return how many numbers the layers leave for the backward pass, for each number of a row.

    That is what each convolution, and each activation in the place of its BatchNorm, puts out, at the length
    that it has there.
    """
    down = sum(channels * 0.5 ** (layer + 1) for layer, channels in enumerate(_ENCODER[1:]))
    up = sum(channels * 0.5**layer for layer, channels in enumerate(reversed(_DECODER[1:])))
    return int(2 * (down + up))


class ConvAutoencoder(nn.Module):
    """Five strided convolutions down to a linear latent, five transposed convolutions back.

    Rows are padded at the end with zeros to a multiple of 32. For D = 2,048 and Z = 128 it has 2,182,689
    parameters. BatchNorm uses batch statistics while training only: call `eval()` before encoding a bank.
    """

    def __init__(self, dim: int, latent_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.latent_dim = latent_dim
        self.length = math.ceil(dim / _FACTOR)
        self.padding = self.length * _FACTOR - dim
        flat = self.length * _ENCODER[-1]
        self.encoder = nn.Sequential(
            *(layer for pair in pairwise(_ENCODER) for layer in _down(*pair)),
            nn.Flatten(),
            nn.Linear(flat, latent_dim),
            nn.Linear(latent_dim, latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, flat),
            nn.Unflatten(1, (_DECODER[0], self.length)),
            *(layer for pair in pairwise(_DECODER) for layer in _up(*pair)),
            nn.Conv1d(_DECODER[-1], 1, _KERNEL, padding=_KERNEL // 2),
        )

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [B, D] to latents [B, Z]."""
        padded = nn.functional.pad(rows, (0, self.padding))  # [B, 32·L]
        latents: Tensor = self.encoder(padded.unsqueeze(1))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to rows [B, D]."""
        rows: Tensor = self.decoder(latents)
        return rows.squeeze(1)[:, : self.dim]

    def loss(self, rows: Tensor, input_noise: Tensor, latent_noise: Tensor) -> Tensor:
        """Return the reconstruction error (paper, equation 3) of rows [B, D] under the two noises given.

        `input_noise` [B, D] and `latent_noise` [B, Z] are ξ_v and ξ_z, already scaled.
        """
        latents = self.encode(rows + input_noise)
        return nn.functional.mse_loss(self.decode(latents + latent_noise), rows)


def _down(channels: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv1d(channels, out, _KERNEL, stride=2, padding=_KERNEL // 2),
        nn.BatchNorm1d(out),
        nn.LeakyReLU(inplace=True),
    )


def _up(channels: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.ConvTranspose1d(channels, out, _KERNEL, stride=2, padding=_KERNEL // 2, output_padding=1),
        nn.BatchNorm1d(out),
        nn.ELU(inplace=True),
    )
