"""Record the operations that a network's forward pass runs, as a graph.

`make_fx` does too, but imports torch's compiler, for seconds. The operations are those of inputs of one
shape, in-place ones replaced: control flow on shapes, keyword arguments and nested outputs leave no trace in
them, and what Python itself read from a tensor stays as it was.
"""

from collections.abc import Callable
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

SHAPE, PLACE = "shape", "place"
"""Of each node's `meta`: the sizes of its value if that is one tensor, and what `place` said at the time."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that run on `inputs`."""

    def __init__(self, inputs: tuple[Tensor, ...], place: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.read: dict[str, Tensor] = {}
        """Tensors that no operation made: parameters, buffers, constants."""
        self._place = place
        self._nodes = WeakTensorKeyDictionary()  # activations are freed as without it
        for index, tensor in enumerate(inputs):
            self._remember(tensor, self.graph.placeholder(f"inputs_{index}"))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks, and where the answer is yes its compiler is imported to be told."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _reads_the_data(func, args):
            raise RuntimeError("an operation depends on the data")
        outputs = func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *pytree.tree_map_only(Tensor, self.node, (args, kwargs or {})))
        node.meta[PLACE] = self._place()
        if isinstance(outputs, Tensor):
            self._remember(outputs, node)
        else:
            for place, output in enumerate(outputs):
                if isinstance(output, Tensor):
                    self._remember(output, self.graph.call_function(getitem, (node, place)))
        return outputs

    def _remember(self, tensor: Tensor, node: fx.Node) -> None:
        node.meta[SHAPE] = tuple(tensor.shape)
        self._nodes[tensor] = node

    def node(self, tensor: Tensor) -> fx.Node:
        """Return the node whose value a tensor is."""
        if tensor not in self._nodes:
            name = f"tensor_{len(self.read)}"
            self.read[name] = tensor
            self._remember(tensor, self.graph.get_attr(name))
        node: fx.Node = self._nodes[tensor]
        return node


def _reads_the_data(func: Any, args: tuple[Any, ...]) -> bool:
    """Return whether Python learns something of the data by an operation: a number, or its output's size."""
    if func is torch.ops.aten._local_scalar_dense.default:
        return True
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    chosen_by = args[1] if func is torch.ops.aten.index.Tensor else None
    if chosen_by is None:
        return True
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in chosen_by)


def recorded(
    run: Callable[..., Any], *inputs: Tensor, place: Callable[[], str] = lambda: ""
) -> fx.GraphModule:
    """Return the operations of `run(*inputs)`, a list of tensors, as a module that repeats them.

    Tensors that no operation made are its attributes, not copied. Raises `RuntimeError` where an operation
    depends on the data, and whatever `run` raises.
    """
    with torch.inference_mode(False), torch.no_grad():
        copies = tuple(tensor.clone() for tensor in inputs)
        with _Recorder(copies, place) as recorder:
            outputs = functionalize(run)(*copies)
    recorder.graph.output(pytree.tree_map_only(Tensor, recorder.node, outputs))
    return fx.GraphModule(recorder.read, recorder.graph)
