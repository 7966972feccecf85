"""Look at the members of a bank as networks, one at a time, on one batch of inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pdiff.alignment.activations import Activations
from pdiff.alignment.groups import Symmetries, symmetries
from pdiff.alignment.inputs import TRACED, first_inputs
from pdiff.alignment.symmetry import Symmetry, Values, row_places, row_symmetry, whole
from pdiff.bank import Bank
from pdiff.common.errors import InputError
from pdiff.common.rng import numpy_generator
from pdiff.tasks import Task
from pdiff.tasks.data import tensors_in
from pdiff.tasks.scoring import load

Method = Literal["activations", "weights"]

_TIE = 0.03
"""Length of a row beside activations, each of length 1: it decides about units silent on all inputs."""
_ROUNDING = 1e-2
"""Largest difference of outputs, in units of their standard deviation, that is taken for rounding."""


@dataclass(frozen=True)
class Members:
    """The members of a bank, the network that they are of, and which of its hidden units can be permuted."""

    bank: Bank
    network: nn.Module
    name: str
    batch: Any
    found: Symmetries
    symmetry: Symmetry
    """Of the rows."""

    @staticmethod
    def opened(bank: Bank, task: Task, arch: str, inputs: int = TRACED) -> "Members":
        """Derive the symmetry of a bank's rows from a forward pass on training `inputs`.

        Raises `InputError` for a network that is not the members', whose hidden units cannot be followed or
        are not in the rows, or that does not compute the same with its units in another order.
        """
        name = f"{task.name} {arch}"
        network = task.build(arch).eval()
        load(network, bank.state_dict(torch.from_numpy(bank.gathered([0])[0])), name)
        batch = first_inputs(task, inputs)
        found = symmetries(network, batch, name)
        symmetry = row_symmetry(bank, found.groups)
        if not len(symmetry):
            raise InputError(
                f"{bank.path}: its rows hold no hidden units of {name} whole, so nothing can be aligned; "
                "collect whole networks"
            )
        members = Members(bank, network, name, batch, found, symmetry)
        members._check()
        return members

    @torch.inference_mode()
    def _check(self) -> None:
        """Compare the first member with itself shuffled: Python may read what no recording shows."""
        row = self.bank.gathered([0])[0]
        generator = numpy_generator(0, "align/check")
        shuffled = [generator.permutation(units) for units in self.symmetry.units]
        outputs = []
        for each in (row, self.symmetry.permuted(row, shuffled)):
            self._put(each)
            parts = tensors_in(self.network(self.batch))
            outputs.append(torch.cat([part.float().reshape(-1) for part in parts]))
        scale = max(float(outputs[0].std()), 1e-12)
        if not float((outputs[1] - outputs[0]).abs().max()) <= _ROUNDING * scale:
            raise InputError(
                f"{self.name}: its outputs depend on the order of its hidden units; it cannot be aligned"
            )

    def vectors(self, method: Method) -> tuple[Callable[[int], Values], Symmetry]:
        """Return what units are matched by, and the symmetry of it: member i → f64 [P].

        By `weights` these are normalised rows, by `activations` those, with a little of the rows.
        """
        return (self._row, self.symmetry) if method == "weights" else self._activations()

    def _row(self, index: int) -> Values:
        row: Values = self.bank.gathered([index], self.bank.normalizer("tensor"))[0].astype(np.float64)
        return row

    def _activations(self) -> tuple[Callable[[int], Values], Symmetry]:
        rows, dim = row_places(self.bank), self.bank.dim
        groups = whole(self.found.groups, rows)
        activations = Activations(self.found, groups, tensors_in(self.batch))
        behind = {name: (dim + begin, shape) for name, (begin, shape) in activations.places.items()}
        symmetry = Symmetry(
            rows | behind, [(group.units, group.axes + group.activations) for group in groups]
        )

        def values(index: int) -> Values:
            self._put(self.bank.gathered([index])[0])
            return np.concatenate([_TIE / dim**0.5 * self._row(index), activations().astype(np.float64)])

        return values, symmetry

    def _put(self, row: NDArray[np.float32]) -> None:
        """Make the network that of a raw row [D]."""
        load(self.network, self.bank.state_dict(torch.from_numpy(row)), self.name)
