"""Splitting a network into the part that all models share and the part that differs.

Models of one bank differ in a few tensors. Whatever the network computes before it first touches one of
them is the same for every model, so it need be computed only once for each batch of data.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

__all__ = ["Halves", "halve", "split"]


@dataclass(frozen=True)
class Halves:
    """`tail(*trunk(inputs))` computes what the network computes; both share its parameters and buffers."""

    trunk: Callable[[Tensor], tuple[Any, ...]]
    """Inputs [B, ...] → the values that cross the boundary."""
    tail: Callable[..., Any]
    """The values that cross the boundary → the network's outputs."""


class _Tracer(fx.Tracer):
    """Sees reads of buffers as well as of parameters."""

    proxy_buffer_attributes = True


def halve(network: nn.Module, varying: Collection[str]) -> Halves | None:
    """Split `network` so that nothing in the trunk depends on the state-dict entries named in `varying`.

    Returns None if the network cannot be traced (control flow that depends on data, for example) or if
    its first operation already depends on a varying tensor. Tracing sees no reordering of in-place
    operations and no values frozen while tracing, so the caller has to compare the halves with the
    network; see `RepeatedForward`.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # a user's forward may raise anything when it meets a proxy
        return None
    state = network.state_dict(keep_vars=True)
    touched = {id(state[name]) for name in varying}  # identity decides, so tied tensors count too
    return split(
        network, graph, lambda node: any(id(tensor) in touched for tensor in _tensors(node, network))
    )


def split(root: nn.Module, graph: fx.Graph, touched: Callable[[fx.Node], bool]) -> Halves | None:
    """Split a graph of `root` before everything that depends on a node that is `touched`.

    Returns None if no operation comes before.
    """
    shared: set[fx.Node] = set()
    fed: set[fx.Node] = set()  # what depends on the inputs; without any of it nothing is worth keeping
    for node in graph.nodes:
        if node.op != "output" and shared.issuperset(node.all_input_nodes) and not touched(node):
            shared.add(node)
        if node.op == "placeholder" or not fed.isdisjoint(node.all_input_nodes):
            fed.add(node)
    if not any(node.op.startswith("call") for node in shared & fed):
        return None
    boundary = [
        node
        for node in graph.nodes
        if node in shared and node.op != "get_attr" and not shared.issuperset(node.users)
    ]
    trunk, tail = _trunk(graph, shared, boundary), _tail(graph, shared, boundary)
    return Halves(fx.GraphModule(root, trunk), fx.GraphModule(root, tail))


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
