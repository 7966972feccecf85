"""Tensors of checkpoints: which can be modelled, how large they are, and which differ."""

import math
import re
from collections.abc import Sequence

from pdiff import _core
from pdiff._core import Origin, TensorInfo
from pdiff.common.progress import Tracker

__all__ = ["FLOATING", "differing", "judged", "stored_bytes"]

FLOATING = frozenset({"F64", "F32", "F16", "BF16"})
"""The dtypes that can be modelled."""

_COMPARED = 16
"""Checkpoints compared with the first at a time: often enough to show progress."""


def differing(
    origins: Sequence[Origin],
    names: Sequence[str],
    tracker: Tracker,
) -> set[str]:
    """Return which of the tensors are not the same in all checkpoints; the tracker counts as in `judged`."""
    return {name for name, differs in judged(origins, names, tracker).items() if differs}


def judged(
    origins: Sequence[Origin],
    names: Sequence[str],
    tracker: Tracker,
    *,
    sample: bool = False,
    checksums: bool = True,
) -> dict[str, bool | None]:
    """Return for each tensor whether it differs between the checkpoints; each is compared with the first.

    With `sample`, only the first, middle and last 4 KiB of each are: None for larger ones that agree there.
    With `checksums`, parts of torch archives whose recorded CRC-32 agree count as the same unread. The
    tracker counts all but the first.
    """
    first, *rest = origins
    outcome: dict[str, bool | None] = dict.fromkeys(names, False)
    for begin in range(0, len(rest), _COMPARED):
        part = rest[begin : begin + _COMPARED]
        if same := [name for name in names if not outcome[name]]:
            flags = _core.varying_tensors([first, *part], same, sample=sample, checksums=checksums)
            unseen = [name for name in same if outcome[name] is None]
            outcome |= zip(same, flags, strict=True)
            outcome |= {name: None for name in unseen if outcome[name] is False}
        tracker.advance(len(part))
    return outcome


def stored_bytes(tensors: Sequence[TensorInfo]) -> int:
    """Return the bytes of tensors in a safetensors file, where each name has its own."""
    return sum(_bytes(tensor) for tensor in tensors)


def _bytes(tensor: TensorInfo) -> int:
    bits = re.search(r"\d+", tensor.dtype)
    return math.ceil(math.prod(tensor.shape) * (int(bits.group()) if bits else 8) / 8)
