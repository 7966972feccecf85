"""Choose the subset: which tensors of a checkpoint become a row."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec

from pdiff import _core
from pdiff._core import Layout, Origin, TensorInfo
from pdiff.checkpoints.records import FLOATING, Checkpoint, judged
from pdiff.common.errors import InputError, UsageError, noted
from pdiff.common.progress import Progress
from pdiff.common.wording import agreeing, counted, some

_NORM_NAME = re.compile(r"norm|^(ln|gn|bn)(_?\d+|_f)?$|_(ln|gn|bn)$", re.IGNORECASE)


class Selection(msgspec.Struct, frozen=True):
    """What the user asked for; all empty means the tensors that differ between the checkpoints."""

    include: tuple[str, ...] = ()
    """Globs on tensor names; a name must match one of them, if there are any."""
    exclude: tuple[str, ...] = ()
    """Globs on tensor names to leave out."""
    last_norms: int = 0
    """The weight and bias of the last N normalisation layers, if positive."""

    @property
    def explicit(self) -> bool:
        """Whether the names alone decide, without comparing the checkpoints."""
        return bool(self.include) or self.last_norms > 0

    def accepts(self, names: Sequence[str]) -> bool:
        """Return whether the globs let a tensor with these names (several if it is tied) through."""
        included = not self.include or _match(names, self.include)
        return included and not _match(names, self.exclude)


def _match(names: Sequence[str], globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def floating(tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
    """Return the tensors that could be modelled: floating, not empty, of tied ones the first."""
    return [t for t in tensors if t.dtype in FLOATING and _counts(t)]


def carried(tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
    """Return the tensors that cannot be modelled, whatever is selected: integers, flags, complex, 8 bits."""
    return [t for t in tensors if t.dtype not in FLOATING and _counts(t)]


def _counts(tensor: TensorInfo) -> bool:
    return math.prod(tensor.shape) > 0 and tensor.tied_to is None


def norm_modules(tensors: Sequence[TensorInfo]) -> list[str]:
    """Return the modules that look like normalisation layers, in natural order of their names.

    Such a layer has 1-D tensors `weight` and `bias` of one length, and a `running_mean` (BatchNorm) or a
    name of its own that says so (`norm`, `LayerNorm`, `ln_1`, `gn1`).
    """
    shapes = {t.name: t.shape for t in tensors}
    modules = set()
    for name, shape in shapes.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "weight" or len(shape) != 1 or shapes.get(f"{module}.bias") != shape:
            continue
        if f"{module}.running_mean" in shapes or _NORM_NAME.search(module.rpartition(".")[2]):
            modules.add(module)
    return _core.natural_sort(list(modules))


def select(
    checkpoints: Sequence[Checkpoint],
    tensors: Sequence[TensorInfo],
    selection: Selection,
    *,
    check_rest: bool,
    progress: Progress,
) -> tuple[Layout, set[str]]:
    """Choose the subset of checkpoints of one kind, whose tensors are `tensors`.

    Returned with those that differ but cannot be modelled, so that one checkpoint's are taken.

    With `check_rest`, floating tensors outside the subset must be the same in every checkpoint, and of the
    others it is found out which differ: integers are carried over, never modelled. Of tied tensors the first
    stands for all. Raises `UsageError` if a selection matches nothing, `InputError` if there is nothing to
    match, if nothing varies or if the rest differs.
    """
    candidates, others = floating(tensors), [t.name for t in carried(tensors)] if check_rest else []
    if not candidates:
        raise InputError(
            f"{checkpoints[0].source}: no floating tensors, so nothing to learn; "
            f"accepted: {', '.join(sorted(FLOATING))}"
        )
    wanted = _wanted(tensors, candidates, selection)
    names = [t.name for t in candidates]
    if selection.explicit:
        names = [name for name in names if name not in wanted] if check_rest else []
    differs = compared([c.origin for c in checkpoints], [*names, *others], progress)
    lost = differs.intersection(others)
    differs -= lost
    chosen = wanted if selection.explicit else wanted & differs
    if not chosen:
        but = f" but for {some(sorted(lost))}, which cannot be modelled" if lost else ""
        raise InputError(
            f"all {len(checkpoints)} checkpoints are identical{but}: nothing varies, nothing to learn"
        )
    rest = sorted(differs - chosen)
    if check_rest and rest:
        message = (
            f"{some(rest, 1)} outside the selection {agreeing(len(rest), 'differ')} between checkpoints; "
            f"select {agreeing(len(rest), 'them')} too, or say with --base FILE whose values to use"
        )
        raise noted(InputError(message))
    layout = Layout([(t.name, t.dtype, t.shape) for t in candidates if t.name in chosen])
    return layout, lost


def compared(origins: Sequence[Origin], names: Sequence[str], progress: Progress) -> set[str]:
    """Return which of the tensors are not the same in all checkpoints."""
    if not names or len(origins) < 2:
        return set()
    with progress.track("Comparing tensors", len(origins) - 1, "checkpoint") as tracker:
        return {name for name, differs in judged(origins, names, tracker).items() if differs}


def _wanted(
    tensors: Sequence[TensorInfo], candidates: Sequence[TensorInfo], selection: Selection
) -> set[str]:
    """Return the candidates that the selection lets through; raises `UsageError` if there are none."""
    norms = _last_norms(candidates, selection.last_norms) if selection.last_norms else None
    aliases: dict[str, list[str]] = {}
    for tensor in tensors:
        if tensor.tied_to is not None:
            aliases.setdefault(tensor.tied_to, []).append(tensor.name)
    wanted = set()
    for tensor in candidates:
        module, _, leaf = tensor.name.rpartition(".")
        in_norms = norms is None or (leaf in {"weight", "bias"} and module in norms)
        if in_norms and selection.accepts([tensor.name, *aliases.get(tensor.name, [])]):
            wanted.add(tensor.name)
    if not wanted:
        what = counted(len(candidates), "floating tensor")
        raise UsageError(f"the selection matches none of {what} ({some([t.name for t in candidates])})")
    return wanted


def _last_norms(candidates: Sequence[TensorInfo], number: int) -> list[str]:
    """Return the last `number` normalisation layers; raises `UsageError` if there are fewer."""
    norms = norm_modules(candidates)
    if len(norms) < number:
        found = f"{counted(len(norms), 'normalisation layer')} ({some(norms)})" if norms else "none"
        raise UsageError(f"--last-norms {number}: of normalisation layers the network has {found}")
    return norms[-number:]


def describe_subset(tensors: Sequence[TensorInfo], layout: Layout, lost: Iterable[str] = ()) -> Iterator[str]:
    """Yield one line for what is not modelled as it is; `lost` are the names of those that differ."""
    names = {segment.name for segment in layout.segments}
    others = [t for t in tensors if t.tied_to is None and t.name not in names]
    carried_on = (t for t in others if t.dtype not in FLOATING or not math.prod(t.shape))
    kinds = Counter("empty" if t.dtype in FLOATING else t.dtype for t in carried_on)
    if kinds:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        unit = "tensor" if kinds.total() == 1 else "tensors"
        note = f"carried unchanged from one checkpoint: {counts} {unit}"
        if differ := sorted(lost):
            verb = agreeing(len(differ), "differ")
            note += f"; {len(differ)} of them {verb} between checkpoints ({some(differ)})"
        yield note
    wide = sum(segment.dtype == "F64" for segment in layout.segments)
    if wide:
        yield f"F64 tensors are worked on in float32 ({wide} of {len(layout.segments)})"
