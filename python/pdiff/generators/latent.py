"""Generate rows by diffusion or flow over latents (*Neural Network Diffusion*, arXiv 2402.13144).

The paper also shows the accuracy of networks on the way from noise (figure 5b), which `trajectory` decodes.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.conditions import Encoder
from pdiff.bank.manifest import Condition
from pdiff.codecs import Codec
from pdiff.codecs.base import largest_power
from pdiff.common.config import LatentConfig
from pdiff.common.errors import PdiffError
from pdiff.common.progress import SILENT, Forecast, Progress
from pdiff.common.tensors import write_tensors
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.common.torch_rng import Normals
from pdiff.diffusion import Process
from pdiff.diffusion.objectives import Denoiser as Predictor
from pdiff.diffusion.samplers import last
from pdiff.generators.base import Context, Generator
from pdiff.generators.reconstruction import reconstruction
from pdiff.generators.stages import (
    CODEC,
    DENOISER,
    LATENTS,
    Latents,
    fit_codec,
    fit_denoiser,
    fit_latents,
)

if TYPE_CHECKING:
    from pdiff.diffusion.denoisers import Network

_PIECE = 16
"""Rows that are decoded together, at most."""
_PIECE_NUMBERS = 2**24
"""Numbers of them."""


class Latent(Generator[LatentConfig]):
    """A codec, the members' latents and a denoiser of them, on one device.

    On a CPU, row i is always drawn in the whole block that holds it, so that it is bit for bit the same
    however many are asked for. On a GPU all rows are drawn at once, and it is the same to rounding; with
    torch's deterministic algorithms it is drawn in blocks there, too.
    """

    def __init__(self, config: LatentConfig, members: View, codec: Codec, latents: Latents) -> None:
        super().__init__(config, members)
        self.codec = codec
        self.latents = latents
        self.process = Process(config.diffusion)
        self.denoiser: Network  # once it is trained
        self.device = latents.values.device
        self._last: tuple[tuple[int, range], Tensor] | None = None
        """Seed, models and latents of the last block."""
        self._asked: Tensor | None = None
        """Conditions that models were asked for, [M, C]."""
        self._folder: Path | None = None
        self.progress: Progress = SILENT
        """Is told when drawing will take long."""

    @classmethod
    def fit(cls, config: LatentConfig, members: View, context: Context) -> Self:
        """Fit the codec, then the denoiser; each stage is written to the context's folder when it is done."""
        codec, codec_s = fit_codec(config, members, context)
        fitted = cls(config, members, codec, fit_latents(config, members, codec, context))
        found = reconstruction(codec, fitted.latents, members, fitted.explained, context)
        context.progress.message(found.sentence(codec))
        if config.check and found.problem:
            folder = shlex.quote(str(context.folder))
            on = f"; or go on all the same: `pdiff train --out {folder} --resume --set check=false`"
            raise PdiffError(found.problem + (on if context.folder else ""))
        context.interruption.check()
        held_out = None
        if context.held_out is not None and len(context.held_out):
            held_out = fitted.latents.standardise(codec.encode_view(context.held_out))
        fitted.denoiser, denoiser_s = fit_denoiser(config, members, fitted.latents, context, held_out)
        fitted.seconds = {"codec": codec_s, "denoiser": denoiser_s}
        fitted._folder = context.folder
        return fitted

    @classmethod
    def load(cls, config: LatentConfig, members: View, folder: Path, context: Context) -> Self:
        """Read what `save` wrote; raises `InputError` for files of another configuration."""
        there = replace(context, folder=folder)
        codec, _ = fit_codec(config, members, there)
        loaded = cls(config, members, codec, fit_latents(config, members, codec, there))
        loaded.progress = context.progress
        loaded.denoiser, _ = fit_denoiser(config, members, loaded.latents, there)
        return loaded

    @torch.no_grad()
    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return raw rows [n, D]: noise → latents → rows → raw values."""
        found = torch.empty(len(indices), self.members.dim)
        for drawn in self.together(indices):
            if self._last is None or self._last[0] != (seed, drawn):
                self._last = (seed, drawn), self.latents.restore(last(self.states(seed, drawn)))
            self.decode(self._last[1], drawn, indices, found)
        return found

    def together(self, indices: Sequence[int]) -> list[range]:
        """Return the models that are drawn together for `indices`, which are ascending.

        Whole blocks, whose arithmetic is the same whatever is asked for; on a GPU all, unless its results
        have to be reproduced.
        """
        if self.device.type != "cpu" and not torch.are_deterministic_algorithms_enabled():
            return [range(indices[0], indices[-1] + 1)] if len(indices) else []
        size = self.denoiser.block
        return [range(size * block, size * (block + 1)) for block in sorted({i // size for i in indices})]

    def states(self, seed: int, drawn: range) -> Iterator[Tensor]:
        """Yield models [len(drawn), Z] as the denoiser sees them: noise, then what each step leaves."""
        dim = self.latents.values.shape[1]
        batch = torch.zeros(len(drawn), dim, device=self.device)
        with on_threads(suitable_threads(self.denoiser, lambda: self.denoiser(batch, batch[:, 0]))):
            forecast = Forecast(f"Drawing {len(drawn)} models", "step")
            noise = Normals(seed, "sample", drawn, dim, self.device)
            states = self.process.states(self._predictor(drawn), self.config.sampler, noise)
            for step, state in enumerate(states):
                if not drawn.start and step and (line := forecast.line(1, self.config.sampler.steps - step)):
                    self.progress.message(line)
                yield state

    def ask(self, conditions: Sequence[Mapping[str, Condition]]) -> None:
        """Take the conditions that models are to have: model i the i-th, beginning again after the last."""
        if not self.config.condition:
            super().ask(conditions)
        encoder = Encoder.of(self.members.members, self.config.condition)
        self._asked = torch.stack([encoder.encode(row) for row in conditions]).to(self.device)
        self._last = None

    def _predictor(self, drawn: range) -> Predictor:
        """Return the denoiser of these models, with the conditions that they were asked for.

        Guidance w goes from the prediction without condition w times as far as to that with it (Ho & Salimans
        2022).
        """
        if self._asked is None:
            return self.denoiser
        condition = self._asked[[index % len(self._asked) for index in drawn]]
        guidance = self.config.sampler.guidance

        def guided(latents: Tensor, time: Tensor) -> Tensor:
            told: Tensor = self.denoiser(latents, time, condition)
            if guidance == 1:
                return told
            free: Tensor = self.denoiser(latents, time)
            return free + guidance * (told - free)

        return guided

    @torch.no_grad()
    def decode(self, latents: Tensor, drawn: range, indices: Sequence[int], into: Tensor) -> None:
        """Decode those of `indices` that were drawn together to their rows of `into` [n, D], raw.

        `latents` [len(drawn), Z] are on the codec's own scale. They are decoded in pieces of bounded memory,
        whose places depend on D alone.
        """
        size = min(self.denoiser.block, _PIECE, largest_power(_PIECE_NUMBERS // self.members.dim))
        normalizer = self.members.normalizer(self.config.normalize)
        places: dict[int, list[int]] = {}  # piece of the latents → places among the indices
        for place, index in enumerate(indices):
            if index in drawn:
                places.setdefault((index - drawn.start) // size, []).append(place)
        for piece, wanted in places.items():
            rows = self.codec.decode(latents[piece * size : (piece + 1) * size]).cpu().contiguous()
            normalizer.invert(rows.numpy())
            for place in wanted:
                into[place] = rows[indices[place] - drawn.start - piece * size]

    @cached_property
    @torch.no_grad()
    def explained(self) -> float:
        """The share of the variance between members that the codec keeps."""
        return self.codec.variance_kept(self.latents.restore(self.latents.values))

    def facts(self) -> Mapping[str, float]:
        """Return Z and the share of the variance between members that the codec keeps."""
        return {"latent_dim": self.codec.latent_dim, "variance_explained": self.explained}

    def save(self, folder: Path) -> list[str]:
        """Write codec, latents and denoiser, unless they were written there while fitting."""
        if folder != self._folder:
            write_tensors(folder / CODEC, self.codec.state())
            write_tensors(folder / LATENTS, vars(self.latents))
            write_tensors(folder / DENOISER, self.denoiser.state_dict())
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
    Raises `ValueError` for fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"{points} points; accepted: 2 or more, for both ends")
    steps, latents, models = generator.config.sampler.steps, generator.latents, sorted(indices)
    kept = sorted({round(i * steps / (points - 1)) for i in range(points)})
    states: dict[range, list[Tensor]] = {}  # models drawn together → restored latents of each state
    for drawn in generator.together(models):
        on_the_way = enumerate(generator.states(seed, drawn))
        states[drawn] = [latents.restore(state) for step, state in on_the_way if step in kept]

    def rows(point: int, which: Sequence[int]) -> Tensor:
        chosen = [models[place] for place in which]
        found = torch.empty(len(chosen), generator.members.dim)
        for drawn, restored in states.items():
            generator.decode(restored[point], drawn, chosen, found)
        return found

    return Trajectory(tuple(step / steps for step in kept), rows)
