"""Fine-tune a few simple starts on training data: the mean, members at a cyclic rate, Gaussian draws."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from pdiff.bank import Normalizer, View
from pdiff.bank.spectrum import mean_row
from pdiff.common.config import GaussianConfig, TunedConfig
from pdiff.common.errors import UsageError
from pdiff.common.provenance import DataKind
from pdiff.common.rng import numpy_generator
from pdiff.generators.base import Context, Generator
from pdiff.generators.gaussian import Gaussian
from pdiff.generators.moments import denormalise, element_normalizer, element_std, require_members
from pdiff.generators.tuner import Tuner

SNAPSHOTS = 4
"""Averaged to one model of `cyclic`."""


class Tuned(Generator[TunedConfig]):
    """Fine-tuned baselines: what G gradients of minibatches can do without a learned generator.

    - `mean`: the mean of the members, tuned with all G gradients when it is fitted, then Gaussian noise of
      `scale` times the members' standard deviations. There are as many models as one likes.
    - `cyclic`: averages of the four snapshots that a random member passes through at a cyclic rate (Huang et
      al., *Snapshot Ensembles*, arXiv 1704.00109; Garipov et al., arXiv 1802.10026).
    - `gaussian`: draws of the diagonal Gaussian at `scale`, each tuned.

    The models of `cyclic` and `gaussian` share the gradients evenly; they are made when they are asked for,
    then remembered. A saved generator holds the first `models` of its configuration's seed; other seeds and
    further models are tuned anew, at as many gradients each, and need the task.
    """

    access: ClassVar[DataKind] = "gradients"

    def __init__(self, config: TunedConfig, members: View, context: Context) -> None:
        super().__init__(config, members)
        self._context = context
        self._cycles = SNAPSHOTS if config.start == "cyclic" else 1
        self.models = config.models
        """Models that the gradients pay for: of `cyclic` and `gaussian` maybe fewer than were asked for."""
        self._steps = config.gradient_evaluations
        if config.start != "mean":
            self.models = min(config.models, config.gradient_evaluations // self._cycles)
            if not self.models:
                raise UsageError(
                    f"gradient_evaluations={config.gradient_evaluations} pay for no model; "
                    f"accepted for {config.start}: {self._cycles} or more"
                )
            self._steps = config.gradient_evaluations // (self.models * self._cycles)
        self._made: dict[int, dict[int, Tensor]] = {}  # seed → index → row [D]
        self._mean: Tensor | None = None  # raw [D]

    @classmethod
    def fit(cls, config: TunedConfig, members: View, context: Context) -> Self:
        """Tune the mean, or check that members and draws can be tuned.

        Fits with one context that differ in scale alone share the tuned mean. Raises `UsageError` without a
        task, for gradients that pay for no model, and for a bank that holds no parameters.
        """
        require_members(members, 1, "tuned")
        fitted = cls(config, members, context)
        _ = fitted._tuner
        if config.start == "mean":
            fitted._mean, fitted.seconds["tuning"] = fitted._shared_mean()
        return fitted

    @property
    def strength(self) -> float:
        """The scale, or the rate of `cyclic`."""
        return self.config.rate if self.config.start == "cyclic" else self.config.scale

    @property
    def gradient_evaluations(self) -> int:
        """Minibatches whose gradient is taken, for all models of a seed together.

        At most the configuration's, of which as many are spent as divide evenly; more only where more than
        `models` were asked for.
        """
        if self.config.start == "mean":
            return self._steps
        count = max([self.models, *map(len, self._made.values())])
        return count * self._cycles * self._steps

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return tuned models: raw f32 [n, D]."""
        if self.config.start == "mean":
            return self._around_mean(indices, seed)
        return super().rows(indices, seed)

    def row(self, index: int, seed: int) -> Tensor:
        """Return one of the models that are tuned one by one, raw f32 [D]; it is remembered."""
        made = self._made.setdefault(seed, {})
        if index not in made:
            made[index] = self._tuned(index, seed)
        return made[index]

    def state(self) -> Mapping[str, Tensor]:
        """Return the tuned `mean` [D], or the `rows` [models, D] of the configuration's seed, raw."""
        if self._mean is not None:
            return {"mean": self._mean}
        return {"rows": self.rows(range(self.models), self.config.seed)}

    @classmethod
    def restore(
        cls, config: TunedConfig, members: View, state: Mapping[str, Tensor], context: Context
    ) -> Self:
        """Return the generator whose `state` this is; it needs no task for the rows that are in it."""
        restored = cls(config, members, context)
        restored._mean = state.get("mean")
        if "rows" in state:
            restored._made[config.seed] = dict(enumerate(state["rows"]))
        return restored

    @cached_property
    def _tuner(self) -> Tuner:
        return Tuner(self.members.bank, self._context, self.config.seed)

    def _shared_mean(self) -> tuple[Tensor, float]:
        """Return the tuned mean, raw [D], and the seconds it took."""
        config, members = self.config, self.members
        fitted = (members.bank.digest, members.indices.tobytes())
        key = ("tuned-mean", *fitted, config.seed, config.rate, config.gradient_evaluations)
        if key not in self._context.shared:
            begin = time.perf_counter()
            mean = mean_row(members, "tensor")[None]
            denormalise(members, mean, members.normalizer("tensor"))
            (tuned,) = self._tuner.tune(
                mean[0], self._steps, rate=config.rate, seed=config.seed, purpose="rival/tuned-mean"
            )
            self._context.shared[key] = tuned, time.perf_counter() - begin
        found: tuple[Tensor, float] = self._context.shared[key]
        return found

    def _around_mean(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return the tuned mean plus noise on the numbers that vary: raw [n, D]."""
        elements, centre, varying = self._scales
        rows = centre.repeat(len(indices), 1)
        for row, index in zip(rows, indices, strict=True):
            generator = numpy_generator(seed, "rival/tuned-mean", index)
            white = torch.from_numpy(generator.standard_normal(len(row), dtype="float32"))
            row.add_(self.config.scale * varying * white)
        denormalise(self.members, rows, elements)
        return rows

    @cached_property
    def _scales(self) -> tuple[Normalizer, Tensor, Tensor]:
        """Units of each number, the tuned mean [D] in them, and f32 [D]: 1 where members differ, else 0."""
        assert self._mean is not None
        elements, centre = element_normalizer(self.members), self._mean.clone()[None]
        elements.apply(centre.numpy())
        return elements, centre[0], (element_std(self.members) > 0).float()

    def _tuned(self, index: int, seed: int) -> Tensor:
        """Return the average [D] of what a start of its own has become at the end of each cycle."""
        kind = "cyclic" if self.config.start == "cyclic" else "tuned-gaussian"
        purpose = f"rival/{kind}/{index}"
        if self.config.start == "cyclic":
            member = int(numpy_generator(seed, purpose).integers(len(self.members)))
            start = self.members.batch([member])[0]
        else:
            start = self._draws.row(index, seed)
        ends = self._tuner.tune(
            start, self._steps, rate=self.config.rate, seed=seed, purpose=purpose, cycles=self._cycles
        )
        return torch.stack(list(ends)).double().mean(dim=0).float()

    @cached_property
    def _draws(self) -> Gaussian:
        config = GaussianConfig(name="gaussian", covariance="diagonal", scale=self.config.scale)
        return Gaussian.fit(config, self.members, self._context)
