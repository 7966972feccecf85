"""Split a network into the part that all models of a bank share and the part that differs.

Models of one bank differ in a few tensors. Whatever the network computes before it first touches one of
them is the same for every model, so it need be computed only once for each batch of data. What counts are the
operations that PyTorch runs for one batch, in-place ones replaced: control flow on shapes, keyword arguments
and nested outputs leave no trace in them. They are those of a batch of one shape, and what Python itself
read from a tensor stays as it was: the caller has to compare; see `RepeatedForward`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Halves:
    """`tail(*trunk(inputs))` computes what the network computes; both share its parameters and buffers."""

    trunk: Callable[[Tensor], tuple[Any, ...]]
    """Inputs [B, ...] → the values that cross the boundary."""
    tail: Callable[..., Any]
    """The values that cross the boundary → the network's outputs."""


def halve(network: nn.Module, varying: Collection[str], inputs: Tensor) -> Halves | None:
    """Split what `network` does with `inputs` so that the trunk depends on no state-dict entry in `varying`.

    Returns None if the operations depend on the data, write to what outlives them, or depend on a varying
    tensor from the start.
    """
    structure: list[Any] = []

    def run(batch: Tensor) -> list[Any]:
        leaves, spec = pytree.tree_flatten(network(batch))
        structure.append(spec)
        return leaves

    try:
        with torch.inference_mode(False), torch.no_grad():
            module = make_fx(functionalize(run), tracing_mode="real")(inputs.clone())
    except Exception:  # operations that depend on the data; whatever else a user's forward may raise
        return None
    _drop_input_writes(module.graph)
    state = network.state_dict(keep_vars=True)
    memory = {state[name].untyped_storage().data_ptr() for name in varying}  # of tied tensors, too
    shared = _shared(module, memory)
    if shared is None:
        return None
    trunk, tail = _cut(module, shared)
    return Halves(trunk, lambda *boundary: pytree.tree_unflatten(tail(*boundary), structure[-1]))


def _drop_input_writes(graph: fx.Graph) -> None:
    """Forget that the network writes to its input, which nobody reads afterwards."""
    for node in reversed(graph.nodes):
        writes = node.target is torch.ops.aten.copy_.default and not node.users
        if writes and isinstance(node.args[0], fx.Node) and node.args[0].op == "placeholder":
            graph.erase_node(node)


def _shared(module: fx.GraphModule, memory: Collection[int]) -> set[fx.Node] | None:
    """Return the nodes that depend on no tensor at these addresses; None if no operation is among them.

    Nor if one changes something; random ones give themselves away when outputs are compared.
    """
    shared: set[fx.Node] = set()
    fed: set[fx.Node] = set()  # what depends on the inputs; without any of it nothing is worth caching
    for node in module.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            return None
        read = attrgetter(str(node.target))(module) if node.op == "get_attr" else None
        touched = isinstance(read, Tensor) and read.untyped_storage().data_ptr() in memory
        if node.op != "output" and shared.issuperset(node.all_input_nodes) and not touched:
            shared.add(node)
        if node.op == "placeholder" or not fed.isdisjoint(node.all_input_nodes):
            fed.add(node)
    return shared if any(node.op.startswith("call") for node in shared & fed) else None


def _cut(module: fx.GraphModule, shared: set[fx.Node]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Copy the shared nodes into one module and the others into another; reads of attributes into both."""
    crossing = [
        node
        for node in module.graph.nodes
        if node in shared and node.op != "get_attr" and not shared.issuperset(node.users)
    ]
    trunk, tail = fx.Graph(), fx.Graph()
    early: dict[fx.Node, Any] = {}
    late: dict[fx.Node, Any] = {node: tail.placeholder(node.name) for node in crossing}
    for node in module.graph.nodes:
        if node in shared:
            early[node] = trunk.node_copy(node, early.__getitem__)
        if node.op == "get_attr" or node not in shared:
            late[node] = tail.node_copy(node, late.__getitem__)
    trunk.output(tuple(early[node] for node in crossing))
    return fx.GraphModule(module, trunk), fx.GraphModule(module, tail)
