"""A codec without training: the bank's principal components, exact at any D through its Gram matrix.

K checkpoints of D numbers span at most K − 1 directions, so the K×K Gram matrix of the centred rows gives
the exact basis; the bank is streamed twice.
"""

import torch
from torch import Tensor

from pdiff.bank import Bank, Normalizer, View

__all__ = ["PcaCodec", "fit_pca"]

_TOLERANCE = 1e-7


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

    def state_dict(self) -> dict[str, Tensor]:
        """Return `mean` [D] and `basis` [Z, D]."""
        return {"mean": self.mean, "basis": self.basis}


def fit_pca(bank: Bank, normalizer: Normalizer, latent_dim: int, members: View | None = None) -> PcaCodec:
    """Fit the codec to the normalised rows of a bank [K, D], or of those `members` of it.

    Z is `latent_dim`, or the number of directions with any variance if that is smaller. The bank is streamed,
    so memory is that of the basis [Z, D].
    """
    indices = torch.arange(len(bank)) if members is None else torch.from_numpy(members.indices.copy())
    values, vectors = torch.linalg.eigh(_gram(bank, normalizer, indices))  # ascending
    count = min(latent_dim, int((values > _TOLERANCE * values[-1]).sum()))
    # Row j of Vᵀ X is the j-th direction times the norm √λ_j of the scores along it; over K rows that norm
    # is √K standard deviations.
    weights = torch.zeros(count, len(bank), dtype=torch.float64)  # [Z, K]
    weights[:, indices] = (vectors[:, -count:].flip(1) / len(indices) ** 0.5).T
    average = torch.zeros(1, len(bank))
    average[:, indices] = 1 / len(indices)
    # Each row of weights adds up to 0, so it does not matter over which members the rows are centred.
    return PcaCodec(bank.combine(average, normalizer)[0], bank.combine(weights, normalizer, centred=True))


def _gram(bank: Bank, normalizer: Normalizer, indices: Tensor) -> Tensor:
    """Return the Gram matrix of the rows `indices`, centred over them: f64."""
    gram = bank.gram(normalizer)
    if len(indices) == len(bank):
        return gram
    gram = gram[indices][:, indices]
    means = gram.mean(dim=0)
    return gram - means - means[:, None] + means.mean()
