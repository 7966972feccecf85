"""What the user should know of the checkpoints that are collected: choices made and things left alone."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pdiff._core import Layout, TensorInfo
from pdiff.bank.source import AVERAGE_COUNT
from pdiff.checkpoints.records import Checkpoint, Example
from pdiff.checkpoints.tensors import FLOATING
from pdiff.common.wording import agreeing, counted, shown, some

__all__ = ["describe", "describe_subset"]

_KEYS = 5
_EXTRA = "_extra_state"


def describe(checkpoints: Sequence[Checkpoint], example: Example) -> Iterator[str]:
    """Yield one line for each choice that was made on the way to the weights."""
    header, source = example.header, example.candidate.source
    keys = Counter(checkpoint.origin.key for checkpoint in checkpoints)
    others = [key for key, _, _ in header.candidates if key not in keys]
    if len(keys) > 1:
        counts = ", ".join(f"{count} of {_key(key)}" for key, count in keys.most_common(_KEYS))
        counts += f" and {len(keys) - _KEYS} more" if len(keys) > _KEYS else ""
        yield f"weights are taken from different entries: {counts}; name one with --key"
    elif others:
        names = some([key or "the top level" for key in others])
        yield f"{source}: the weights of {_key(header.key)} are taken, not {names}; choose with --key"
    elif header.key:
        yield f"{source}: the weights are those of {_key(header.key)}, the only ones"
    for prefix, count in header.prefixes:
        yield f"{source}: prefix {shown(prefix)} is taken off {counted(count, 'name')}"
    yield from _left_out(source, header.left_out)


def _left_out(source: str, names: Sequence[str]) -> Iterator[str]:
    if AVERAGE_COUNT in names:
        yield f"{source}: {AVERAGE_COUNT} is no part of the network; --format source writes it again, as 1"
    names = [name for name in names if name != AVERAGE_COUNT]
    if not names:
        return
    strict = any(name.rpartition(".")[2] == _EXTRA for name in names)
    failing = ", and load with strict=False only" if strict else ""
    yield (
        f"{source}: entries that are no tensors are left out: {some(names)}; "
        f"generated checkpoints will not have them{failing}"
    )


def describe_subset(tensors: Sequence[TensorInfo], layout: Layout, lost: Iterable[str] = ()) -> Iterator[str]:
    """Yield one line for what is not modelled as it is; `lost` are the names of those that differ."""
    names = {segment.name for segment in layout.segments}
    kinds = Counter(kind for tensor in tensors if (kind := _unmodelled(tensor, names)) is not None)
    if kinds:
        yield _carried(kinds, sorted(lost))
    wide = sum(segment.dtype == "F64" for segment in layout.segments)
    if wide:
        yield f"F64 tensors are worked on in float32 ({wide} of {len(layout.segments)})"


def _carried(kinds: Counter[str], lost: Sequence[str]) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    note = f"carried unchanged from one checkpoint: {counts} {'tensor' if kinds.total() == 1 else 'tensors'}"
    if not lost:
        return note
    return f"{note}; {len(lost)} of them {agreeing(lost, 'differ')} between checkpoints ({some(lost)})"


def _unmodelled(tensor: TensorInfo, names: set[str]) -> str | None:
    """Return what sort of tensor this is if it cannot, or was not asked to, be modelled as one of `names`."""
    if tensor.tied_to is not None or tensor.name in names:
        return None
    if tensor.dtype not in FLOATING:
        return tensor.dtype
    if math.prod(tensor.shape) == 0:
        return "empty"
    return None


def _key(key: str) -> str:
    return shown(key) or "the top level"
