"""The parts of a configuration that several generators have, checked when they are built."""

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Variance = Annotated[float, Meta(gt=0, lt=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section: its numbers are finite."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a finite number is wanted")


class Optimisation(Section, frozen=True):
    """One training stage: AdamW on uniformly drawn batches."""

    steps: Positive
    batch_size: Positive
    lr: Rate
    weight_decay: NonNegative = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is kept in the end; 0 keeps the last."""


class CodecConfig(Section, frozen=True):
    """What turns a normalised row [D] into a latent [Z] and back."""

    kind: Literal["conv", "pca"]
    latent_dim: Positive
    """Z. `pca` takes fewer where the bank spans fewer directions."""
    input_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_v added to the input while training (`conv`)."""
    latent_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_z added to the latent while training (`conv`)."""


class DiffusionConfig(Section, frozen=True):
    """What models the distribution of latents."""

    kind: Literal["ddpm", "flow"]
    denoiser: Literal["conv", "mlp"]
    standardise: bool
    """Whether latents are brought to mean 0 and std 1 in each dimension before they are modelled."""
    timesteps: Positive = 1000
    """T of the diffusion, or the number of integration steps of the flow."""
    beta_first: Variance = 1e-4
    beta_last: Variance = 2e-2
    jitter: NonNegative = 0.0
    """Standard deviation of Gaussian noise added to the (standardised) latents that are learned from."""
    width: Positive = 512
    """Hidden width of the `mlp` denoiser."""
    depth: Positive = 3
    """Residual blocks of the `mlp` denoiser."""
