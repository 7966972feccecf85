"""Keep a part of a network still while the rest of it trains."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class FrozenRest:
    """Holds everything outside the subset still while a network trains.

    Parameters outside the subset need no gradient. A normalisation layer whose running statistics are in
    the subset trains as usual; every other one uses its statistics and leaves them alone. Buffers that a
    forward pass changes nonetheless (the batch counter beside chosen statistics) are put back by `restore`;
    with the whole network as subset, the counters count.
    """

    def __init__(self, model: nn.Module, names: list[str], *, whole: bool) -> None:
        chosen = set(names)
        self._model = model
        for name, parameter in model.named_parameters(remove_duplicate=False):
            parameter.requires_grad_(name in chosen)
        self._still = [
            module
            for path, module in model.named_modules()
            if isinstance(module, _NormBase)
            and chosen.isdisjoint(f"{path}.{name}" if path else name for name, _ in module.named_buffers())
        ]
        self._held = [
            (buffer, buffer.clone())
            for name, buffer in model.named_buffers()
            if name not in chosen and not whole
        ]

    def train(self) -> None:
        """Put the network in training mode, except the normalisation layers that stay still."""
        self._model.train()
        for module in self._still:
            module.eval()

    def restore(self) -> None:
        """Put back the buffers outside the subset."""
        for buffer, value in self._held:
            buffer.copy_(value)
