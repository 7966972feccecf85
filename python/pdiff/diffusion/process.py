"""Join a path, an objective and a sampler as the configuration says."""

from collections.abc import Iterator

from torch import Tensor

from pdiff.common.config import DiffusionConfig, SamplerConfig
from pdiff.common.torch_rng import Random
from pdiff.diffusion.objectives import Denoiser, loss
from pdiff.diffusion.paths import build_path
from pdiff.diffusion.samplers import SAMPLERS, Noise, levels, part_with


class Process:
    """A distribution of latents that a denoiser is trained for and samplers draw from."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.path = build_path(config)
        self.objective = config.objective

    def loss(self, denoiser: Denoiser, clean: Tensor, random: Random) -> Tensor:
        """Return the scalar loss of clean latents [B, Z]; times and noise come from `random`."""
        return loss(denoiser, self.path, self.objective, clean, random)

    def states(self, denoiser: Denoiser, sampler: SamplerConfig, noise: Noise) -> Iterator[Tensor]:
        """Yield [N, Z] before the first step, the noise, and after each: `sampler.steps` + 1 states.

        All noise, that of the start and that of the steps, is multiplied by the sampler's temperature.
        """
        ends = levels(self.path, self.path.times(sampler.steps))
        part = part_with(denoiser, self.objective)
        return SAMPLERS[sampler.name](part, self.path, ends, lambda: sampler.temperature * noise())
