"""The paper's codec: a 1-D convolutional autoencoder trained with noise on its input and on its latent.

*Neural Network Diffusion* (arXiv 2402.13144), section 2.2: z = f_φ(v + ξ_v), v' = f_π(z + ξ_z), MSE.
"""

import math
from itertools import pairwise

from torch import Tensor, nn

__all__ = ["ConvCodec"]

_KERNEL = 7
_ENCODER = (1, 64, 128, 256, 256, 32)
_DECODER = (32, 256, 256, 128, 64, 64)
_FACTOR = 2 ** (len(_ENCODER) - 1)


class ConvCodec(nn.Module):
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
        nn.LeakyReLU(),
    )


def _up(channels: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.ConvTranspose1d(channels, out, _KERNEL, stride=2, padding=_KERNEL // 2, output_padding=1),
        nn.BatchNorm1d(out),
        nn.ELU(),
    )
