"""Splitting a network into the part that all models share and the part that differs.

Models of one bank differ in a few tensors. Whatever the network computes before it first touches one of
them is the same for every model, so it need be computed only once for each batch of data.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

__all__ = ["Halves", "halve"]


@dataclass(frozen=True)
class Halves:
    """`tail(*trunk(inputs))` computes what the network computes; both share its parameters and buffers."""

    trunk: fx.GraphModule
    """Inputs [B, ...] → tuple of the values that cross the boundary."""
    tail: fx.GraphModule
    """The values that cross the boundary → the network's outputs."""


class _Tracer(fx.Tracer):
    """Sees reads of buffers as well as of parameters."""

    proxy_buffer_attributes = True


def halve(network: nn.Module, varying: Collection[str]) -> Halves | None:
    """Split `network` so that nothing in the trunk depends on the state-dict entries named in `varying`.

    Returns None if the network cannot be traced (control flow that depends on data, for example) or if
    its first operation already depends on a varying tensor. Tracing sees no reordering of in-place
    operations and no values frozen while tracing, so the caller has to compare the halves with the
    network; see `Predictor`.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # a user's forward may raise anything when it meets a proxy
        return None
    shared = _shared_nodes(graph, network, varying)
    if not any(node.op.startswith("call") for node in shared):
        return None
    boundary = [
        node
        for node in graph.nodes
        if node in shared and node.op != "get_attr" and not shared.issuperset(node.users)
    ]
    trunk, tail = _trunk(graph, shared, boundary), _tail(graph, shared, boundary)
    return Halves(fx.GraphModule(network, trunk), fx.GraphModule(network, tail))


def _shared_nodes(graph: fx.Graph, network: nn.Module, varying: Collection[str]) -> set[fx.Node]:
    """Return the nodes that depend on no varying tensor; identity decides, so tied tensors count too."""
    state = network.state_dict(keep_vars=True)
    touched = {id(state[name]) for name in varying}
    shared: set[fx.Node] = set()
    for node in graph.nodes:
        own = {id(tensor) for tensor in _tensors(node, network)}
        if node.op != "output" and shared.issuperset(node.all_input_nodes) and not own & touched:
            shared.add(node)
    return shared


def _tensors(node: fx.Node, network: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers that a node reads by itself."""
    if node.op == "get_attr":
        return [attrgetter(str(node.target))(network)]
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return list(chain(module.parameters(), module.buffers()))
    return []


def _trunk(graph: fx.Graph, shared: set[fx.Node], boundary: list[fx.Node]) -> fx.Graph:
    """Copy the shared nodes and return the boundary's values."""
    trunk = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node in shared:
            copies[node] = trunk.node_copy(node, copies.__getitem__)
    trunk.output(tuple(copies[node] for node in boundary))
    return trunk


def _tail(graph: fx.Graph, shared: set[fx.Node], boundary: list[fx.Node]) -> fx.Graph:
    """Copy the other nodes, with the boundary's values as inputs; reads of attributes may stand in both."""
    tail = fx.Graph()
    copies: dict[fx.Node, Any] = {node: tail.placeholder(node.name) for node in boundary}
    for node in graph.nodes:
        if node.op == "get_attr" or node not in shared:
            copies[node] = tail.node_copy(node, copies.__getitem__)
    return tail
