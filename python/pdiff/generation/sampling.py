"""From noise to raw rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pdiff.codecs import Codec
from pdiff.common.rng import numpy_generator
from pdiff.diffusion import build_process
from pdiff.training import Run
from pdiff.training.stages import load_denoiser, load_latents

__all__ = ["BLOCK", "block_generators", "decoded", "sample_rows"]

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
    for block in sorted({index // BLOCK for index in indices}):
        drawn = process.sample(denoiser, dim, block_generators(seed, block), device)
        rows = decoded(run, codec, latents.restore(drawn))
        yield rows[[index % BLOCK for index in indices if index // BLOCK == block]]


def block_generators(seed: int, block: int) -> list[np.random.Generator]:
    """Return the generators of the models of one block, BLOCK of them."""
    return [numpy_generator(seed, "sample", block * BLOCK + place) for place in range(BLOCK)]


@torch.no_grad()
def decoded(run: Run, codec: Codec, latents: Tensor) -> Tensor:
    """Decode latents [B, Z] on the codec's own scale to raw rows [B, D] on the CPU."""
    rows = codec.decode(latents).cpu().contiguous()
    run.bank.normalizer(run.config.normalize).invert(rows.numpy())
    return rows
