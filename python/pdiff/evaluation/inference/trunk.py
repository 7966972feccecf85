"""Run a network on fixed batches again and again, computing what its models share only once.

Models of one bank differ in a few tensors. Whatever the network computes before it first touches one of
them, its trunk, is the same for every model. What counts are the operations that PyTorch runs for one batch,
in-place ones replaced: control flow on shapes, keyword arguments and nested outputs leave no trace in them.
They are those of a batch of one shape, and what Python itself read from a tensor stays as it was: so the
halves are compared with the whole network before they are used.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from pdiff.tasks.data import moved, tensors_in


@dataclass(frozen=True)
class Halves:
    """`tail(*trunk(inputs))` computes what the network computes; both share its parameters and buffers."""

    trunk: Callable[[Tensor], tuple[Any, ...]]
    """Inputs [B, ...] → the values that cross the boundary."""
    tail: Callable[..., Any]
    """The values that cross the boundary → the network's outputs."""


@dataclass(frozen=True)
class _Proved:
    """Halves that repeated the network bit for bit with every variant."""

    halves: Halves
    writes: bool
    """Whether the tail writes to the boundary."""

    def outputs(self, boundary: tuple[Any, ...]) -> Any:
        given = pytree.tree_map_only(Tensor, Tensor.clone, boundary) if self.writes else boundary
        return self.halves.tail(*given)


class RepeatedForward:
    """Runs `network` on batch i as often as asked, computing what no tensor in `varying` reaches only once.

    The network is split by its operations on a batch of each shape. `variants` put different models into
    the network: with each of them the halves must give the whole network's bits on the first batch of a
    shape, with the last of them on every batch; one bit off, and nothing is cached. The shared activations
    that cross the boundary are cached for the first batches, as many as fit into `budget` bytes; the other
    batches go through the whole network, and so do all of them where one is anything else than one tensor.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Sequence[Any],
        varying: Collection[str],
        variants: Sequence[Callable[[], None]],
        budget: int,
    ) -> None:
        self._network = network
        self._batches = batches
        self._varying = varying
        self._variants = variants
        self._device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
        tensors = all(isinstance(batch, Tensor) for batch in batches)
        self._cached = self._fill(budget) if tensors else []

    @property
    def cached(self) -> int:
        """Batches whose shared activations are cached."""
        return len(self._cached)

    @torch.inference_mode()
    def __call__(self, index: int) -> Any:
        """Return the network's outputs on batch `index`, with its tensors as they are now."""
        if index >= len(self._cached):
            return self._network(self._fresh(self._batches[index]))
        proved, boundary = self._cached[index]
        return proved.outputs(boundary)

    def _fresh(self, inputs: Any) -> Any:
        """Return a copy where the network is: a forward may write to its input."""
        return moved(inputs, self._device, copy=True)

    @torch.inference_mode(False)  # whose tensors do not count their versions
    @torch.no_grad()
    def _prove(self, halves: Halves, inputs: Tensor) -> _Proved | None:
        """Return the halves if they repeat the network with every variant, and whether the tail writes."""
        writes = False
        for put in self._variants:
            put()
            boundary = halves.trunk(self._fresh(inputs))
            versions = [tensor._version for tensor in tensors_in(boundary)]
            with torch.inference_mode():
                outputs = halves.tail(*boundary)
                writes |= versions != [tensor._version for tensor in tensors_in(boundary)]
                if not _same(outputs, self._network(self._fresh(inputs))):
                    return None
        return _Proved(halves, writes)

    @torch.inference_mode()
    def _fill(self, budget: int) -> list[tuple[_Proved, tuple[Any, ...]]]:
        """Return halves and boundary of the first batches; of none if one does not repeat the network."""
        cached: list[tuple[_Proved, tuple[Any, ...]]] = []
        shapes: dict[torch.Size, _Proved] = {}
        counted = {tensor.untyped_storage().data_ptr() for tensor in self._network.state_dict().values()}
        for inputs in self._batches:
            proved = shapes.get(inputs.shape) or self._split(inputs)
            if proved is None:
                return cached
            shapes[inputs.shape] = proved
            boundary = proved.halves.trunk(self._fresh(inputs))
            storages = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, tensors_in(boundary))}
            budget -= sum(size for pointer, size in storages.items() if pointer not in counted)
            if budget < 0:
                return cached
            if not _same(proved.outputs(boundary), self._network(self._fresh(inputs))):
                return []
            counted |= storages.keys()
            cached.append((proved, boundary))
        return cached

    def _split(self, inputs: Tensor) -> _Proved | None:
        """Split the network by its operations on a batch of this shape."""
        halves = halve(self._network, self._varying, self._fresh(inputs))
        return None if halves is None else self._prove(halves, inputs)


def _same(a: object, b: object) -> bool:
    """Return whether two outputs hold tensors, and the same ones bit for bit (NaN equals NaN)."""
    ours, theirs = tensors_in(a), tensors_in(b)
    if not ours or len(ours) != len(theirs):
        return False
    return all(
        x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan())).all())
        for x, y in zip(ours, theirs, strict=True)
    )


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
            module = _recorded(functionalize(run), inputs.clone())
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


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that run. `make_fx` does too, but imports torch's compiler, for seconds."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.read: dict[str, Tensor] = {}
        """Tensors that no operation made: parameters, buffers, constants."""
        self._nodes = WeakTensorKeyDictionary()  # activations are freed as without it
        self._nodes[inputs] = self.graph.placeholder("inputs")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks, and where the answer is yes its compiler is imported to be told."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _reads_the_data(func, args):
            raise RuntimeError("an operation depends on the data")
        outputs = func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *pytree.tree_map_only(Tensor, self.node, (args, kwargs or {})))
        if isinstance(outputs, Tensor):
            self._nodes[outputs] = node
        else:
            for place, output in enumerate(outputs):
                if isinstance(output, Tensor):
                    self._nodes[output] = self.graph.call_function(getitem, (node, place))
        return outputs

    def node(self, tensor: Tensor) -> fx.Node:
        """Return the node whose value a tensor is."""
        if tensor not in self._nodes:
            name = f"tensor_{len(self.read)}"
            self.read[name] = tensor
            self._nodes[tensor] = self.graph.get_attr(name)
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


def _recorded(run: Callable[[Tensor], Any], inputs: Tensor) -> fx.GraphModule:
    """Return the operations of a run on `inputs`."""
    with _Recorder(inputs) as recorder:
        outputs = run(inputs)
    recorder.graph.output(pytree.tree_map_only(Tensor, recorder.node, outputs))
    return fx.GraphModule(recorder.read, recorder.graph)


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
