"""Choose the tensors of a network that go on training while its checkpoints are saved."""

from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from pdiff.common.errors import UsageError

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def select_subset(model: nn.Module, spec: str) -> list[str]:
    """Return the names of the state dict's floating tensors that `spec` selects, in the state dict's order.

    `all`: parameters and running statistics. `last-norms` or `last-norms:N`: weight and bias of the last
    two (N) normalisation layers in the order of registration. Anything else is a glob on tensor names.
    Raises `UsageError` if nothing, or nothing that can be trained, is selected.
    """
    state = model.state_dict()
    floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
    if spec == "all":
        return floating
    if spec.partition(":")[0] == "last-norms":
        chosen = _last_norms(model, spec)
    else:
        chosen = {name for name in floating if fnmatchcase(name, spec)}
        if not chosen:
            raise UsageError(_no_match(spec, floating))
    if chosen.isdisjoint(name for name, _ in model.named_parameters()):
        raise UsageError(
            f"subset {spec!r}: selects no parameter that can be trained, only running statistics"
        )
    return [name for name in floating if name in chosen]


def _last_norms(model: nn.Module, spec: str) -> set[str]:
    _, _, count = spec.partition(":")
    norms = [
        [f"{path}.{name}" if path else name for name, _ in module.named_parameters(recurse=False)]
        for path, module in model.named_modules()
        if isinstance(module, _NORMS)
    ]
    norms = [names for names in norms if names]
    if not norms:
        raise UsageError(
            f"subset {spec!r}: the network has no normalisation layer with parameters; "
            "accepted: all, or a glob on tensor names"
        )
    n = int(count) if count.isdecimal() else 0 if ":" in spec else 2
    if not 1 <= n <= len(norms):
        raise UsageError(
            f"subset {spec!r}: the network has {len(norms)} normalisation layers with parameters; "
            "accepted: last-norms (two), last-norms:N with N from 1 to that number, all, or a glob on names"
        )
    return {name for names in norms[-n:] for name in names}


def _no_match(glob: str, names: list[str]) -> str:
    near = get_close_matches(glob.replace("*", ""), names, n=3, cutoff=0.3) or names[:3]
    return f"subset {glob!r}: matches no floating tensor; names are like {', '.join(near)}"
