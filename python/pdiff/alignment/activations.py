"""Compute what a network's layers read, so that hidden units can be matched by what they do.

Two units are alike if their activations on the same inputs are correlated (Li et al. 2015, *Convergent
Learning*, arXiv 1511.07543). The values of all layers make one vector, in which each unit, standardised over
inputs and positions, has length 1: the inner product of two such vectors is the sum of correlations.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pdiff.alignment.groups import Group, Symmetries
from pdiff.tasks.recording import SHAPE

if TYPE_CHECKING:
    from pdiff.alignment.symmetry import Place


class Activations:
    """What the layers behind some groups of hidden units read, on inputs of the recorded shapes."""

    def __init__(self, found: Symmetries, groups: Sequence[Group], inputs: Sequence[Tensor]) -> None:
        self._inputs = inputs
        units: dict[str, set[int]] = {}
        for axis in (axis for group in groups for axis in group.activations):
            units.setdefault(axis.tensor, set()).add(axis.dimension)
        nodes = [node for node in found.graph.graph.nodes if node.name in units]
        shapes = [node.meta[SHAPE] for node in nodes]
        self._samples = [
            [dim for dim in range(len(shape)) if dim not in units[node.name]]
            for node, shape in zip(nodes, shapes, strict=True)
        ]
        begins = accumulate((int(np.prod(shape)) for shape in shapes), initial=0)
        self.places: dict[str, Place] = {
            node.name: (begin, shape) for node, shape, begin in zip(nodes, shapes, begins, strict=False)
        }
        """Where the value of each node lies in the vector."""
        self._module = _giving(found.graph, nodes)

    @torch.no_grad()
    def __call__(self) -> NDArray[np.float32]:
        """Return the vector of the network as its parameters are now: f32."""
        parts = [
            _standardised(value.float(), samples).reshape(-1)
            for value, samples in zip(self._module(*self._inputs), self._samples, strict=True)
        ]
        return torch.cat([torch.empty(0), *parts]).numpy()


def _giving(module: fx.GraphModule, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """Return a module that computes the values of these nodes, with the same parameters, and no more."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(module.graph, copies)
    graph.output(tuple(copies[node] for node in nodes))
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def _standardised(value: Tensor, samples: list[int]) -> Tensor:
    """Return activations with mean 0 and length 1 over the dimensions of samples; 0 for constant units."""
    if not samples:
        return value
    centred = value - value.mean(dim=samples, keepdim=True)
    standardised: Tensor = centred / torch.linalg.vector_norm(centred, dim=samples, keepdim=True).clamp(
        min=1e-12
    )
    return standardised
