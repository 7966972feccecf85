"""Record the forward pass of a task's network, each operation with the name of the module that runs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from pdiff.common.blame import described
from pdiff.common.errors import InputError
from pdiff.tasks.data import tensors_in
from pdiff.tasks.recording import recorded


def record(network: nn.Module, inputs: Any, name: str) -> fx.GraphModule:
    """Return the operations of `network`, in eval mode, on a batch of `inputs` of any structure.

    Raises `InputError` that names the module where that fails, or where an operation depends on the data.
    """
    given, structure = pytree.tree_flatten(inputs)

    def run(*tensors: Tensor) -> list[Tensor]:
        rest = iter(tensors)
        filled = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in given]
        return tensors_in(network(pytree.tree_unflatten(filled, structure)))

    entered: list[str] = []
    with _evaluating(network), _noting(network, entered), _plain_attention():
        try:
            tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]
            return recorded(run, *tensors, place=lambda: entered[-1] if entered else "")
        except Exception as error:  # whatever a user's forward may raise
            where = f" in {entered[-1]}" if entered and entered[-1] else ""
            raise InputError(f"{name}: hidden units cannot be found{where}: {described(error)}") from error


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in was:
            module.training = True


@contextmanager
def _noting(network: nn.Module, entered: list[str]) -> Iterator[None]:
    """Keep the names of the modules whose forward runs; after an error, the innermost is the last."""

    def leave(*_: object) -> None:
        entered.pop()

    def hooks(name: str, module: nn.Module) -> Iterator[Any]:
        yield module.register_forward_pre_hook(lambda *_: entered.append(name))
        yield module.register_forward_hook(leave)

    handles = [hook for name, module in network.named_modules() for hook in hooks(name, module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention run operation by operation: without gradients torch has one for a whole layer."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
