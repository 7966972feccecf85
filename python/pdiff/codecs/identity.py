"""Take the normalised row for its own latent."""

from collections.abc import Mapping

from torch import Tensor

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.codecs.base import Codec, Train


class IdentityCodec(Codec):
    """No codec, for networks of few numbers: Z = D."""

    def __init__(self, members: View, kind: Normalization) -> None:
        super().__init__(members, kind)
        self.latent_dim = members.dim

    def fit(self, train: Train, seed: int) -> None:
        """Have nothing to do."""

    def encode(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def decode(self, latents: Tensor) -> Tensor:
        """Return the latents."""
        return latents

    def state(self) -> Mapping[str, Tensor]:
        """Return nothing."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Have nothing to read."""
