"""Turn a normalised row of D numbers into a latent of Z and back: two codecs.

The paper's is a 1-D convolutional autoencoder trained with noise on its input and on its latent (*Neural
Network Diffusion*, arXiv 2402.13144, section 2.2): z = f_φ(v + ξ_v), v' = f_π(z + ξ_z), MSE. The other
one, the bank's principal components, needs no training.
"""

import math
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.bank.spectrum import mean_row, spectrum

_KERNEL = 7
_ENCODER = (1, 64, 128, 256, 256, 32)
_DECODER = (32, 256, 256, 128, 64, 64)
_FACTOR = 2 ** (len(_ENCODER) - 1)


class Codec(Protocol):
    """A pair of maps between normalised rows and latents, both deterministic."""

    latent_dim: int

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [B, D] to latents [B, Z]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to rows [B, D]."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that define the codec."""


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


class PcaCodec:
    """Whitened principal components: over the bank, every latent dimension has mean 0 and variance 1."""

    def __init__(self, mean: Tensor, basis: Tensor) -> None:
        self.mean = mean
        """Mean row [D]."""
        self.basis = basis
        """Orthogonal directions [Z, D], each scaled by the bank's standard deviation along it."""
        self.latent_dim = len(basis)
        self._inverse = basis / basis.square().sum(dim=1, keepdim=True)

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [B, D] to latents [B, Z]."""
        return (rows - self.mean) @ self._inverse.T

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to rows [B, D]."""
        return latents @ self.basis + self.mean

    def to(self, device: torch.device) -> "PcaCodec":
        """Return the codec on `device`."""
        return PcaCodec(self.mean.to(device), self.basis.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        """Return `mean` [D] and `basis` [Z, D]."""
        return {"mean": self.mean, "basis": self.basis}


def fit_pca(members: View, kind: Normalization, latent_dim: int) -> PcaCodec:
    """Fit the codec to the members' rows [K, D], normalised by the bank's normaliser of this kind.

    Z is `latent_dim`, or the number of directions with any variance if that is smaller. The bank is streamed,
    so memory is that of the basis [Z, D].
    """
    weights = spectrum(members, kind).coefficients(latent_dim)  # [Z, K]
    basis = members.bank.combine(weights, members.normalizer(kind), centred=True)
    return PcaCodec(mean_row(members, kind), basis)
