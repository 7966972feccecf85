"""Choose the tensors of a network that go on training while its checkpoints are saved."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from pdiff.common.errors import UsageError

_LAYERS: Mapping[str, tuple[str, tuple[type[nn.Module], ...]]] = {
    "norms": ("normalisation", (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)),
    "convs": ("convolutional", (_ConvNd,)),
    "linears": ("linear", (nn.Linear,)),
}
"""Kind of layer in a specification → what it is called, and its classes."""
_SPEC = re.compile(
    r"(?:last-(?P<last>norms|convs|linears)(?::(?P<n>.*))?|(?P<kind>norms|convs|linears):(?P<range>.*))"
)
_SHORT = {"head": "last-linears", "lora": "*lora_*"}
_DEFAULT = {"norms": 2}
"""How many layers `last-KIND` means; one of other kinds."""
ACCEPTED = (
    "all, last-norms[:N], last-convs[:N], last-linears[:N], norms:I-J, convs:I-J, linears:I-J, head, lora"
)


def select_subset(model: nn.Module, spec: str) -> list[str]:
    """Return the names of the state dict's floating tensors that `spec` selects, in the state dict's order.

    `all`: parameters and running statistics. `last-norms`, `last-convs`, `last-linears`: parameters of the
    last two normalisation layers, or the last layer of the kind, in the order of registration; `:N` takes N.
    `norms:I-J`, `convs:I-J`, `linears:I-J`: the I-th to the J-th, counted from 1. `head`: the last linear
    layer. `lora`: the factors of LoRA adapters. Anything else is a glob on tensor names.

    Raises `UsageError` if nothing, or nothing that can be trained, is selected.
    """
    floating = [name for name, tensor in model.state_dict().items() if tensor.is_floating_point()]
    if spec == "all":
        return floating
    wanted = _SHORT.get(spec, spec)
    if match := _SPEC.fullmatch(wanted):
        chosen = _layers(model, spec, match)
    else:
        chosen = {name for name in floating if fnmatchcase(name, wanted)}
        if not chosen:
            raise UsageError(_no_match(spec, floating))
    if chosen.isdisjoint(name for name, _ in model.named_parameters()):
        raise UsageError(
            f"subset {spec!r}: selects no parameter that can be trained, only running statistics"
        )
    return [name for name in floating if name in chosen]


def _layers(model: nn.Module, spec: str, match: re.Match[str]) -> set[str]:
    """Return the parameters of the layers that a specification counts."""
    kind = match["last"] or match["kind"]
    title, classes = _LAYERS[kind]
    layers = [
        [f"{path}.{name}" if path else name for name, _ in module.named_parameters(recurse=False)]
        for path, module in model.named_modules()
        if isinstance(module, classes)
    ]
    layers = [names for names in layers if names]
    if not layers:
        raise UsageError(
            f"subset {spec!r}: the network has no {title} layer with parameters; accepted: {ACCEPTED}, "
            "or a glob on tensor names"
        )
    if match["last"]:
        given = str(_DEFAULT.get(kind, 1)) if match["n"] is None else match["n"]
        n = int(given) if given.isdecimal() else 0
        first, last = len(layers) - n + 1, len(layers)
    else:
        ends = match["range"].split("-")
        numbers = [int(end) if end.isdecimal() else 0 for end in ends]
        first, last = (numbers[0], numbers[-1]) if len(numbers) <= 2 else (0, 0)
    if not 1 <= first <= last <= len(layers):
        raise UsageError(
            f"subset {spec!r}: the network has {len(layers)} {title} layers with parameters; "
            f"accepted: last-{kind}:N with N from 1 to that number, {kind}:I-J (from I to J), all, or a glob"
        )
    return {name for names in layers[first - 1 : last] for name in names}


def _no_match(glob: str, names: list[str]) -> str:
    near = get_close_matches(glob.replace("*", ""), names, n=3, cutoff=0.3) or names[:3]
    return f"subset {glob!r}: matches no floating tensor; names are like {', '.join(near)}"
