"""Optimisers of torch without its compiler, whose import takes three seconds of a process that trains.

Torch wraps their methods so that `torch.compile` leaves them alone, and the wrappers import it when they are
first called. What they wrap does the same steps.
"""

from inspect import unwrap
from typing import TypeVar

import torch

_Kind = TypeVar("_Kind", bound=torch.optim.Optimizer)
_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _unwrapped(kind: type[_Kind]) -> type[_Kind]:
    methods = {name: unwrap(getattr(kind, name)) for name in _METHODS}
    methods["step"] = torch.no_grad()(unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


SGD = _unwrapped(torch.optim.SGD)
Adam = _unwrapped(torch.optim.Adam)
AdamW = _unwrapped(torch.optim.AdamW)
