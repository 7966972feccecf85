"""Decode the states of the reverse process: what networks look like on the way from noise.

The paper shows the accuracy of such states (*Neural Network Diffusion*, arXiv 2402.13144, figure 5b). A state
is decoded as it is, the noise in it included: it is no estimate of where the process will end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.generators.base import BLOCK
from pdiff.generators.latent import Latent


@dataclass(frozen=True)
class Trajectory:
    """States of the reverse process of some models, kept as latents and decoded when asked for."""

    progress: tuple[float, ...]
    """The share of the steps that each state has behind it: 0 is noise, 1 what `generate` writes."""
    generator: Latent
    indices: tuple[int, ...]
    """The models, ascending."""
    states: dict[int, Tensor]
    """For each block of models the restored latents [points, BLOCK, Z]."""

    def rows(self, point: int, which: Sequence[int]) -> Tensor:
        """Decode state `point` of `indices[i]` for each i in `which`: raw rows [B, D]; noise may overflow."""
        models = [self.indices[i] for i in which]
        parts: dict[int, Tensor] = {}
        for block in sorted({index // BLOCK for index in models}):
            parts[block] = self.generator.decoded(self.states[block][point])
        return torch.stack([parts[index // BLOCK][index % BLOCK] for index in models])


@torch.no_grad()
def trajectory(generator: Latent, indices: Sequence[int], seed: int, points: int = 12) -> Trajectory:
    """Draw the models `indices` again and keep up to `points` states, evenly spread over the steps.

    The first is the noise, the last decodes bit for bit to what `generator.rows` returns for the same seed.
    Models are drawn in whole blocks, as there. Raises `ValueError` for fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"{points} points; accepted: 2 or more, for both ends")
    process, latents = generator.process, generator.latents
    dim = latents.values.shape[1]
    kept = sorted({round(i * process.steps / (points - 1)) for i in range(points)})
    states: dict[int, Tensor] = {}
    for block in sorted({index // BLOCK for index in indices}):
        generators = generator.block_generators(seed, block)
        on_the_way = process.states(generator.denoiser, dim, generators, generator.device)
        states[block] = torch.stack(
            [latents.restore(state) for step, state in enumerate(on_the_way) if step in kept]
        )
    progress = tuple(step / process.steps for step in kept)
    return Trajectory(progress, generator, tuple(sorted(indices)), states)
