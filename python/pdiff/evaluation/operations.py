"""Splitting a network that cannot be traced symbolically, by the operations it runs on one batch.

Control flow on shapes, keyword arguments and nested outputs leave no trace in the operations that PyTorch
runs below them, so the operations of one run, in-place ones replaced, can be split by what they depend on.
They are those of a batch of one shape. What Python itself read from a tensor stays as it was: the caller
has to compare; see `RepeatedForward`.
"""

from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from pdiff.evaluation.trunk import Halves, split

__all__ = ["halve_operations"]


def halve_operations(network: nn.Module, varying: Collection[str], inputs: Tensor) -> Halves | None:
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
    graph = module.graph
    _drop_input_writes(graph)
    if not all(_is_pure(node) for node in graph.nodes):
        return None
    halves = split(module, graph, _Touched(module, network, varying))
    if halves is None:
        return None
    tail = halves.tail
    return Halves(halves.trunk, lambda *boundary: pytree.tree_unflatten(tail(*boundary), structure[-1]))


def _drop_input_writes(graph: fx.Graph) -> None:
    """Forget that the network writes to its input, which nobody reads afterwards."""
    for node in reversed(graph.nodes):
        writes = node.target is torch.ops.aten.copy_.default and not node.users
        if writes and isinstance(node.args[0], fx.Node) and node.args[0].op == "placeholder":
            graph.erase_node(node)


def _is_pure(node: fx.Node) -> bool:
    """Return whether a node changes nothing; random ones give themselves away when outputs are compared."""
    target = node.target
    return not (isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable)


class _Touched:
    """Tells whether a node reads memory of a varying tensor by itself."""

    def __init__(self, module: fx.GraphModule, network: nn.Module, varying: Collection[str]) -> None:
        self._module = module
        state = network.state_dict(keep_vars=True)
        self._memory = {state[name].untyped_storage().data_ptr() for name in varying}

    def __call__(self, node: fx.Node) -> bool:
        return any(t.untyped_storage().data_ptr() in self._memory for t in self._read(node))

    def _read(self, node: fx.Node) -> Iterator[Tensor]:
        if node.op == "get_attr":
            value = attrgetter(str(node.target))(self._module)
            if isinstance(value, Tensor):
                yield value
