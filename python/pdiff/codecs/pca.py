"""Take a bank's principal components for latents, which its Gram matrix gives exactly at any D."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.bank.spectrum import gram, mean_row, spectrum
from pdiff.codecs.base import Codec, Train

_BLOCK = 2**24
"""Numbers of the bank that are in memory together while rows are encoded."""


class PcaCodec(Codec):
    """Whitened principal components: over the members, every latent dimension has mean 0 and variance 1.

    A direction is a combination of the bank's rows, and so is what is decoded: one pass over the bank, and no
    matrix [Z, D] in memory.
    """

    def __init__(self, members: View, kind: Normalization, latent_dim: int) -> None:
        super().__init__(members, kind)
        self.latent_dim = latent_dim
        """Z; after `fit`, fewer where the members span fewer directions."""
        self.directions: Tensor
        """Coefficients of the bank's rows, f64 [Z, K]: each direction times the members' std along it."""
        self.variances: Tensor
        """Along each direction, and in all: f64 [Z + 1]."""

    def fit(self, train: Train, seed: int) -> None:
        """Decompose the Gram matrix of the members' rows."""
        found = spectrum(self.members, self.kind)
        self.directions = found.coefficients(self.latent_dim)
        self.latent_dim = len(self.directions)
        values = torch.cat([found.values[: self.latent_dim], found.gram.trace()[None]])
        self.variances = values / len(self.members)

    def encode(self, rows: Tensor) -> Tensor:
        """Map normalised rows [B, D] to latents [B, Z], on their device."""
        products = torch.zeros(len(rows), self.directions.shape[1], dtype=torch.float64)  # [B, K]
        mean, everyone = mean_row(self.members, self.kind), range(len(self.members.bank))
        width = max(1, _BLOCK // len(everyone))
        for begin in range(0, self.members.dim, width):
            columns = begin, min(begin + width, self.members.dim)
            centre = mean[slice(*columns)]
            bank = self.members.bank.batch(everyone, self.normalizer, columns=columns) - centre
            products += ((rows[:, slice(*columns)].cpu() - centre).double()) @ bank.double().T
        latents = products @ self.directions.T / self.variances[:-1]
        return latents.float().to(rows.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to normalised rows [B, D], on the CPU."""
        coefficients = latents.double().cpu() @ self.directions  # adding up to 0, each row
        rows = self.members.bank.combine(coefficients, self.normalizer, centred=True)
        return rows.add_(mean_row(self.members, self.kind))

    def encode_view(self, view: View) -> Tensor:
        """Return the latents [K, Z] of members of the bank, from the Gram matrix of its rows alone."""
        products = gram(self.members.bank, self.kind)
        ours, theirs = (torch.from_numpy(each.indices.copy()) for each in (self.members, view))
        centred = products[theirs] - products[ours].mean(dim=0)
        return (centred @ self.directions.T / self.variances[:-1]).float()

    def variance_kept(self, latents: Tensor) -> float:
        """Return the share of the variance that lies along the directions."""
        return float(self.variances[:-1].sum() / self.variances[-1])

    def state(self) -> Mapping[str, Tensor]:
        """Return `directions` [Z, K] and `variances` [Z + 1]."""
        return {"directions": self.directions, "variances": self.variances}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Become the codec of these directions."""
        self.directions, self.variances = state["directions"], state["variances"]
        self.latent_dim = len(self.directions)
