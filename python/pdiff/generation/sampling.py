"""From noise to raw rows."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pdiff.diffusion import build_process
from pdiff.rng import numpy_generator
from pdiff.training import Run
from pdiff.training.stages import load_denoiser, load_latents

__all__ = ["BLOCK", "sample_rows"]

BLOCK = 16
"""Models drawn together. Always this many, so that model i is bit for bit the same whatever their number."""


@torch.no_grad()
def sample_rows(run: Run, indices: Sequence[int], seed: int, device: torch.device) -> Iterator[Tensor]:
    """Yield raw rows [BLOCK or fewer, D] of the models `indices`: noise → latents → rows → raw values.

    Model i depends on (run, seed, i) alone: it is always drawn at place i mod BLOCK of the full block that
    holds it. `indices` must be ascending.
    """
    latents = load_latents(run.path, device)
    dim = latents.values.shape[1]
    denoiser = load_denoiser(dim, run.config, run.path, device)
    codec = run.codec(device)
    process = build_process(run.config.generator)
    normalizer = run.bank.normalizer(run.config.normalize)
    for block in sorted({index // BLOCK for index in indices}):
        members = range(block * BLOCK, (block + 1) * BLOCK)
        generators = [numpy_generator(seed, "sample", index) for index in members]
        drawn = latents.restore(process.sample(denoiser, dim, generators, device))
        rows = codec.decode(drawn).cpu().contiguous()
        normalizer.invert(rows.numpy())
        yield rows[[index - members[0] for index in indices if index in members]]
