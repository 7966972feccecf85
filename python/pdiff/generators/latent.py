"""Generate rows by diffusion or flow over latents (*Neural Network Diffusion*, arXiv 2402.13144).

The paper also shows the accuracy of networks on the way from noise (figure 5b), which `trajectory` decodes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from pdiff.bank import View
from pdiff.codecs import Codec
from pdiff.common.artifacts import write_tensors
from pdiff.common.config import LatentConfig
from pdiff.common.rng import numpy_generator
from pdiff.diffusion import Process, build_process
from pdiff.generators.base import BLOCK, Context, Generator
from pdiff.generators.stages import (
    CODEC,
    DENOISER,
    LATENTS,
    Latents,
    fit_codec,
    fit_denoiser,
    fit_latents,
    write_stage,
)


class Latent(Generator[LatentConfig]):
    """A codec, the members' latents and a denoiser of them, on one device.

    Row i is always drawn at place i mod BLOCK of the full block that holds it, so that it is bit for bit the
    same however many are asked for.
    """

    def __init__(self, config: LatentConfig, members: View, codec: Codec, latents: Latents) -> None:
        super().__init__(config, members)
        self.codec = codec
        self.latents = latents
        self.process: Process = build_process(config.diffusion)
        self.denoiser: nn.Module
        self.device = latents.values.device
        self._folder: Path | None = None

    @classmethod
    def fit(cls, config: LatentConfig, members: View, context: Context) -> Self:
        """Fit the codec, then the denoiser; each stage is written to the context's folder when it is done."""
        codec, codec_s = fit_codec(config, members, context)
        fitted = cls(config, members, codec, fit_latents(config, members, codec, context))
        context.progress.message(
            f"the codec keeps {fitted.explained:.1%} of the variance between checkpoints in "
            f"{codec.latent_dim} numbers"
        )
        context.interruption.check()
        fitted.denoiser, denoiser_s = fit_denoiser(config, fitted.latents, context)
        fitted.seconds = {"codec": codec_s, "denoiser": denoiser_s}
        fitted._folder = context.folder
        return fitted

    @classmethod
    def load(cls, config: LatentConfig, members: View, folder: Path, context: Context) -> Self:
        """Read what `save` wrote; raises `InputError` for files of another configuration."""
        there = replace(context, folder=folder)
        codec, _ = fit_codec(config, members, there)
        loaded = cls(config, members, codec, fit_latents(config, members, codec, there))
        loaded.denoiser, _ = fit_denoiser(config, loaded.latents, there)
        return loaded

    @torch.no_grad()
    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return raw rows [n, D]: noise → latents → rows → raw values."""
        parts = [torch.empty(0, self.members.dim)]
        for block in sorted({index // BLOCK for index in indices}):
            dim = self.latents.values.shape[1]
            drawn = self.process.sample(self.denoiser, dim, self.block_generators(seed, block), self.device)
            rows = self.decoded(self.latents.restore(drawn))  # [BLOCK, D]
            parts.append(rows[[index % BLOCK for index in indices if index // BLOCK == block]])
        return torch.cat(parts)

    @staticmethod
    def block_generators(seed: int, block: int) -> list[np.random.Generator]:
        """Return the random generators of the models of one block, BLOCK of them."""
        return [numpy_generator(seed, "sample", block * BLOCK + place) for place in range(BLOCK)]

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """Decode latents [B, Z] on the codec's own scale to raw rows [B, D] on the CPU."""
        rows = self.codec.decode(latents).cpu().contiguous()
        self.members.normalizer(self.config.normalize).invert(rows.numpy())
        return rows

    @cached_property
    @torch.no_grad()
    def explained(self) -> float:
        """The share of the variance between members that the codec keeps.

        That is 1 − (squared reconstruction error) / (squared deviation from the members' mean), row by row.
        """
        normalizer = self.members.normalizer(self.config.normalize)
        codes = self.latents.restore(self.latents.values)
        error = squares = 0.0
        total = torch.zeros(self.members.dim, dtype=torch.float64)
        for index in range(len(self.members)):
            row = self.members.batch([index], normalizer)[0].double()
            decoded = self.codec.decode(codes[index : index + 1])[0].cpu()
            error += float((decoded - row).square().sum())
            squares += float(row.square().sum())
            total += row
        return 1 - error / (squares - float(total.square().sum()) / len(self.members))

    def facts(self) -> Mapping[str, float]:
        """Return Z and the share of the variance between members that the codec keeps."""
        return {"latent_dim": self.codec.latent_dim, "variance_explained": self.explained}

    def save(self, folder: Path) -> list[str]:
        """Write codec, latents and denoiser, unless they were written there while fitting."""
        if folder != self._folder:
            write_stage(folder / CODEC, self.codec.state_dict(), self.seconds.get("codec", 0.0))
            write_tensors(folder / LATENTS, vars(self.latents))
            write_stage(folder / DENOISER, self.denoiser.state_dict(), self.seconds.get("denoiser", 0.0))
        return [CODEC, LATENTS, DENOISER]


@dataclass(frozen=True)
class Trajectory:
    """States of the reverse process of some models, kept as latents and decoded when asked for.

    A state is decoded as it is, the noise in it included: it is no estimate of where the process will end.
    """

    progress: tuple[float, ...]
    """The share of the steps that each state has behind it: 0 is noise, 1 what `generate` writes."""
    rows: Callable[[int, Sequence[int]], Tensor]
    """Number of a state and places among the models, ascending → raw rows [B, D]; noise may overflow."""


@torch.no_grad()
def trajectory(generator: Latent, indices: Sequence[int], seed: int, points: int = 12) -> Trajectory:
    """Draw the models `indices` again and keep up to `points` states, evenly spread over the steps.

    The first is the noise, the last decodes bit for bit to what `generator.rows` returns for the same seed.
    Models are drawn in whole blocks, as there. Raises `ValueError` for fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"{points} points; accepted: 2 or more, for both ends")
    process, latents, models = generator.process, generator.latents, sorted(indices)
    dim = latents.values.shape[1]
    kept = sorted({round(i * process.steps / (points - 1)) for i in range(points)})
    states: dict[int, list[Tensor]] = {}  # block of models → restored latents [BLOCK, Z] of each state
    for block in {index // BLOCK for index in models}:
        generators = generator.block_generators(seed, block)
        on_the_way = process.states(generator.denoiser, dim, generators, generator.device)
        states[block] = [latents.restore(state) for step, state in enumerate(on_the_way) if step in kept]

    def rows(point: int, which: Sequence[int]) -> Tensor:
        chosen = [models[place] for place in which]
        decoded = {block: generator.decoded(states[block][point]) for block in {i // BLOCK for i in chosen}}
        return torch.stack([decoded[index // BLOCK][index % BLOCK] for index in chosen])

    return Trajectory(tuple(step / process.steps for step in kept), rows)
