"""Estimate BatchNorm's running statistics anew for each model, from unlabelled training inputs.

Weights that were never trained together do not fit the running statistics that come with them. One pass
over a few thousand inputs gives statistics that do: the averages over the batches of that pass.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.evaluation.inference.trunk import RepeatedForward
from pdiff.tasks.calls import forward
from pdiff.tasks.data import moved

_Norm = nn.modules.batchnorm._BatchNorm


class Statistics:
    """The running statistics of `network` that depend on the state-dict entries in `varying`.

    They are those that vary themselves, and those of norms that `variants`, which put different models into
    the network, give different inputs. `inputs` are batches; what all models share is computed only once and
    cached, up to `budget` bytes.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Sequence[Any],
        varying: Collection[str],
        variants: Sequence[Callable[[], None]],
        budget: int,
    ) -> None:
        reached = _reached(network, inputs[0], variants)
        self._norms = {
            name: module
            for name, module in network.named_modules()
            if isinstance(module, _Norm) and module.running_mean is not None
            if name in reached or not {f"{name}.running_mean", f"{name}.running_var"}.isdisjoint(varying)
        }
        self.names = frozenset(f"{name}.{part}" for name in self._norms for part in _PARTS)
        """The state-dict entries that are estimated."""
        self._count = len(inputs)
        if self._norms:
            with _estimating(self._norms.values()):
                _tell(network, inputs[0])
                self._forward = RepeatedForward(network, inputs, {*varying, *self.names}, variants, budget)

    @torch.inference_mode()
    def estimate(self) -> None:
        """Replace the statistics by those of the network as it is now."""
        if not self._norms:
            return
        with _estimating(self._norms.values()):
            for index in range(self._count):
                self._forward(index)


_PARTS = ("running_mean", "running_var", "num_batches_tracked")


@contextmanager
def _estimating(norms: Collection[_Norm]) -> Iterator[None]:
    """Let norms use the statistics of each batch, and average them, while the block runs."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


@torch.inference_mode()
def _reached(network: nn.Module, inputs: Any, variants: Sequence[Callable[[], None]]) -> set[str]:
    """Return the names of the modules whose inputs the variants make different."""
    seen: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, given, name=name: seen.setdefault(name, []).append(given[0].clone())
        )
        for name, module in network.named_modules()
        if isinstance(module, _Norm)
    ]
    try:
        for put in variants:
            put()
            forward(network, _copy(network, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return {
        name
        for name, found in seen.items()
        if not all(torch.equal(first, other) for first in found[:1] for other in found)
    }


@torch.inference_mode()
def _tell(network: nn.Module, inputs: Any) -> None:
    """Run the network on a batch; a norm with a single number to take the variance of raises `ValueError`."""
    network(_copy(network, inputs))


def _copy(network: nn.Module, inputs: Any) -> Any:
    """Return a copy of a batch where the network is."""
    return moved(inputs, next(iter(network.state_dict().values())).device, copy=True)
