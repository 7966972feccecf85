"""Answer a condition from the members by regression: what a conditional generator has to beat.

Every method here gives a linear combination of members whose weights depend on the condition alone, so that
the Gram matrix of the rows is all that is needed to choose its settings, at any number of weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, product
from typing import Self

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.conditions import Encoder, condition_names
from pdiff.bank.manifest import Condition
from pdiff.bank.spectrum import gram
from pdiff.common.config import ConditionalConfig
from pdiff.common.errors import UsageError
from pdiff.common.wording import some
from pdiff.generators.base import Context, Generator
from pdiff.generators.moments import denormalise

_RIDGES = tuple(10.0**power for power in range(-6, 3))
_SCALES = tuple(2.0**power for power in range(-3, 4))
"""Of the kernel's width, times the median distance between members' conditions."""


class Conditional(Generator[ConditionalConfig]):
    """The nearest member, an average of the nearest ones, or a regression on the condition.

    - `nearest`: the member whose condition is nearest.
    - `average`: the average of the `neighbours` nearest ones.
    - `ridge`: linear in the condition, or with products of two of its numbers (`degree` 2).
    - `kernel-ridge`: with a Gaussian kernel of the distance between conditions.

    Strength and width of the regressions are those with the least leave-one-out error on the members' rows,
    which is known in closed form. Models for the same condition are the same.
    """

    def __init__(self, config: ConditionalConfig, members: View, smoother: "Smoother") -> None:
        super().__init__(config, members)
        self.smoother = smoother
        self.encoder = Encoder.of(members.members, config.condition)
        self.asked: Tensor | None = None

    @classmethod
    def fit(cls, config: ConditionalConfig, members: View, context: Context) -> Self:
        """Choose the regression's settings; raises `UsageError` for a condition that members lack."""
        names = condition_names(members.members)
        if not config.condition:
            raise UsageError(
                "the generator conditional needs the name of a condition: --condition NAME; "
                f"accepted: {some(names)}"
            )
        known = Encoder.of(members.members, config.condition).of_members(members.members).double()
        places = torch.from_numpy(members.indices.copy())
        products = gram(members.bank, "tensor")[places][:, places]
        return cls(config, members, min(_candidates(config, known), key=lambda s: s.error(products)))

    def ask(self, conditions: Sequence[Mapping[str, Condition]]) -> None:
        """Take the conditions that models are to have: model i the i-th, beginning again after the last."""
        self.asked = torch.stack([self.encoder.encode(row) for row in conditions]).double()

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return raw rows [n, D]; raises `UsageError` if no conditions were asked for."""
        if self.asked is None:
            raise UsageError("the generator conditional answers conditions: give them with --condition")
        chosen = self.asked[[index % len(self.asked) for index in indices]]
        weights = torch.zeros(len(indices), len(self.members.bank), dtype=torch.float64)
        weights.index_copy_(1, torch.from_numpy(self.members.indices.copy()), self.smoother.weights(chosen))
        normalizer = self.members.normalizer("tensor")
        rows = self.members.bank.combine(weights, normalizer)
        denormalise(self.members, rows, normalizer)
        return rows


class Smoother:
    """Gives members weights that add up to 1, by their conditions [K, C] and that of a model."""

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def weights(self, conditions: Tensor) -> Tensor:
        """Return the weights of the members for conditions [n, C]: f64 [n, K]."""
        raise NotImplementedError

    def error(self, products: Tensor) -> float:
        """Return the leave-one-out error on rows whose Gram matrix is `products` [K, K]; 0 if not needed."""
        return 0.0


class Nearest(Smoother):
    """Equal weights for the members with the nearest conditions; of ties, the first."""

    def __init__(self, known: Tensor, count: int) -> None:
        super().__init__(known)
        self.count = min(count, len(known))

    def weights(self, conditions: Tensor) -> Tensor:
        """Return 1 / count for each of the nearest."""
        distances = torch.cdist(conditions, self.known)
        chosen = distances.argsort(dim=1, stable=True)[:, : self.count]
        return torch.zeros_like(distances).scatter_(1, chosen, 1 / self.count)


class Regression(Smoother):
    """Ridge regression on features whose inner products are given, around the mean of the members."""

    def __init__(self, known: Tensor, ridge: float) -> None:
        super().__init__(known)
        count = len(known)
        kernel = self.kernel(known, known)
        self.centre = torch.eye(count, dtype=torch.float64) - 1 / count
        self.mean = kernel.mean(dim=0)
        centred = self.centre @ kernel @ self.centre
        self.strength = ridge * (float(centred.trace()) / count or 1.0)
        """What is added to the diagonal: `ridge` times the mean of what stands there, if that is not 0."""
        regularised = centred + self.strength * torch.eye(count, dtype=torch.float64)
        self.solution = torch.linalg.solve(regularised, self.centre)  # [K, K]
        self.fitted = centred @ self.solution + 1 / count
        """Weights of the members for each member's own condition [K, K]."""

    def kernel(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the inner products of features: [n, K]."""
        raise NotImplementedError

    def weights(self, conditions: Tensor) -> Tensor:
        """Return the mean's weights plus those of the regression."""
        seen = (self.kernel(conditions, self.known) - self.mean) @ self.centre
        found: Tensor = seen @ self.solution + 1 / len(self.known)
        return found

    def error(self, products: Tensor) -> float:
        """Return the mean squared leave-one-out residual: each residual over 1 − its own weight."""
        residual = torch.eye(len(self.known), dtype=torch.float64) - self.fitted
        squares = (residual @ products * residual).sum(dim=1)
        return float((squares / residual.diagonal().square().clamp(min=1e-12)).mean())


class Ridge(Regression):
    """Features are the condition's numbers, and products of two of them for `degree` 2."""

    def __init__(self, known: Tensor, ridge: float, degree: int) -> None:
        self.degree = degree
        super().__init__(known, ridge)

    def kernel(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return inner products."""
        products: Tensor = self._features(ours) @ self._features(theirs).T
        return products

    def _features(self, conditions: Tensor) -> Tensor:
        if self.degree == 1:
            return conditions
        pairs = list(combinations_with_replacement(range(conditions.shape[1]), 2))
        first, second = (list(each) for each in zip(*pairs, strict=True))
        return torch.cat([conditions, conditions[:, first] * conditions[:, second]], dim=1)


class KernelRidge(Regression):
    """The kernel is exp(−d² / 2w²) of the distance d between conditions."""

    def __init__(self, known: Tensor, ridge: float, width: float) -> None:
        self.width = width
        super().__init__(known, ridge)

    def kernel(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the kernel's values."""
        return (-(torch.cdist(ours, theirs) ** 2) / (2 * self.width**2)).exp()


def _candidates(config: ConditionalConfig, known: Tensor) -> Iterator[Smoother]:
    """Yield what the settings are chosen among."""
    match config.method:
        case "nearest":
            yield Nearest(known, 1)
        case "average":
            yield Nearest(known, config.neighbours)
        case "ridge":
            yield from (Ridge(known, ridge, config.degree) for ridge in _RIDGES)
        case "kernel-ridge":
            distances = torch.pdist(known)
            typical = float(distances.median()) if len(distances) else 1.0
            for scale, ridge in product(_SCALES, _RIDGES):
                yield KernelRidge(known, ridge, scale * (typical or 1.0))
