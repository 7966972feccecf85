"""What every codec can do."""

from typing import Protocol

from torch import Tensor

__all__ = ["Codec"]


class Codec(Protocol):
    """A pair of maps between normalised rows and latents, both deterministic."""

    latent_dim: int

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [B, D] to latents [B, Z]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to rows [B, D]."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that define the codec."""
