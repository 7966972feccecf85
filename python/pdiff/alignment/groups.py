"""Derive which hidden units of a network can be permuted without changing its function."""

from dataclasses import dataclass, field
from operator import getitem
from typing import Any

from torch import Tensor, fx, nn

from pdiff.alignment.axes import Axes, Part, fix, fixed, free, leaves
from pdiff.alignment.forward import record
from pdiff.alignment.rules import CONTRACTED, Operation, Values, rule_of
from pdiff.common.errors import InputError
from pdiff.tasks.recording import PLACE, SHAPE


@dataclass(frozen=True)
class UnitAxis:
    """Where the units of a group are in a tensor: a dimension, or a factor of its length.

    The dimension holds `outer` stretches, each of them the units one after the other, each unit as many
    numbers as are left.
    """

    tensor: str
    dimension: int
    outer: int = 1


@dataclass(frozen=True)
class Group:
    """Hidden units that have no order: permuting all these axes alike leaves the function unchanged."""

    units: int
    axes: tuple[UnitAxis, ...]
    """Of parameters and buffers, by their names in the state dict."""
    activations: tuple[UnitAxis, ...] = ()
    """Of what the layers behind read, by the names of nodes of the recorded graph."""


@dataclass(frozen=True)
class Symmetries:
    """The groups of a network, in the order in which its forward pass meets them, and what was recorded."""

    groups: tuple[Group, ...]
    graph: fx.GraphModule
    """Repeats the forward pass on inputs of the same shape, with the network's parameters as they are."""


def symmetries(network: nn.Module, inputs: Any, name: str) -> Symmetries:
    """Derive the groups of hidden units from what `network`, in eval mode, does with a batch of `inputs`.

    Units of inputs and outputs are fixed, and so are those that an operation reads in an order (positions,
    parts of a concatenation). Raises `InputError` naming the module for an operation that is not known, one
    that depends on the data, or a forward pass that fails.
    """
    module = record(network, inputs, name)
    trace = _Trace(name, module, _state_names(network))
    for node in module.graph.nodes:
        trace.values[node] = trace.axes(node)
    read = [node for node in _fed(module.graph) if CONTRACTED in node.meta]
    places = _unit_axes({node.name: trace.values[node] for node in read})
    groups = _unit_axes(trace.parameters).items()
    return Symmetries(
        tuple(Group(part.size, tuple(axes), tuple(places.get(part, ()))) for part, axes in groups), module
    )


_Key = tuple[int, tuple[int, ...], tuple[int, ...]]


def _key(tensor: Tensor) -> _Key:
    """Return what two names of one tensor have in common: memory, shape, strides."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _state_names(network: nn.Module) -> dict[_Key, str]:
    """Return the name of each tensor of the state dict; of tied ones the first."""
    state = network.state_dict(keep_vars=True)
    return {_key(tensor): name for name, tensor in reversed(state.items()) if isinstance(tensor, Tensor)}


@dataclass
class _Trace:
    """What has been found so far in going through a recorded graph."""

    network: str
    module: fx.GraphModule
    names: dict[_Key, str]
    parameters: dict[str, Axes] = field(default_factory=dict)
    """The axes of each parameter or buffer that is read, by its name, in the order of first use."""
    values: Values = field(default_factory=dict)

    def axes(self, node: fx.Node) -> Any:
        """Return the axes of a node's value, after saying what its operation says of those that it reads."""
        if node.op == "placeholder":
            return fixed(node.meta[SHAPE])
        if node.op == "get_attr":
            name = self.names.get(_key(getattr(self.module, str(node.target))))
            if name is None:  # a constant
                return fixed(node.meta[SHAPE])
            return self.parameters.setdefault(name, free(node.meta[SHAPE]))
        if node.op == "output":
            fix(axis for read in node.all_input_nodes for axis in self.values[read])
            return []
        if node.target is getitem:
            of, place = node.args
            return self.values[of][place]  # type: ignore[index]
        return self._ruled(node)

    def _ruled(self, node: fx.Node) -> Any:
        where = f"{self.network}: {node.meta[PLACE] or 'the forward pass'}"
        rule = rule_of(node)
        if rule is None:
            raise InputError(f"{where}: hidden units cannot be followed through {node.target}")
        try:
            return rule(Operation(node, self.values))
        except InputError as error:
            raise InputError(f"{where}: {node.target}: {error}") from None


def _fed(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes that depend on the inputs, in order."""
    fed: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or any(read in fed for read in node.all_input_nodes):
            fed[node] = None
    return list(fed)


def _unit_axes(tensors: dict[str, Axes]) -> dict[Part, list[UnitAxis]]:
    """Return where the units of each part that is not fixed are."""
    found: dict[Part, list[UnitAxis]] = {}
    for name, axes in tensors.items():
        for dimension, axis in enumerate(axes):
            outer = 1
            for part in leaves(axis):
                if not part.fixed:
                    found.setdefault(part, []).append(UnitAxis(name, dimension, outer))
                outer *= part.size
    return found
