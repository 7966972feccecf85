"""Choosing the subset: which tensors of a checkpoint become a row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pdiff import _core
from pdiff._core import Layout, TensorInfo
from pdiff.bank.sources import FLOATING, Checkpoint
from pdiff.errors import InputError, UsageError
from pdiff.progress import Progress

__all__ = ["Selection", "norm_modules", "select"]

_COMPARED = 16
"""Checkpoints compared with the first at a time: often enough to show progress."""
_NORM_NAME = re.compile(r"norm|^(ln|gn|bn)(_?\d+|_f)?$|_(ln|gn|bn)$", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
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

    def accepts(self, name: str) -> bool:
        """Return whether the globs let `name` through."""
        included = not self.include or any(fnmatchcase(name, glob) for glob in self.include)
        return included and not any(fnmatchcase(name, glob) for glob in self.exclude)


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
    checkpoints: Sequence[Checkpoint], selection: Selection, *, check_rest: bool, progress: Progress
) -> Layout:
    """Return the layout of the subset for checkpoints of one kind.

    With `check_rest`, floating tensors outside the subset must be the same in every checkpoint. Integers are
    carried over, never modelled; so are 0-d tensors, unless a glob names them. Raises `UsageError` if a
    selection matches nothing, `InputError` if nothing varies or the rest differs.
    """
    floating = [t for t in checkpoints[0].tensors if t.dtype in FLOATING and t.begin < t.end]
    norms = norm_modules(floating)[-selection.last_norms :] if selection.last_norms else None
    wanted = {t.name for t in floating if _wanted(t, norms, selection)}
    if not wanted:
        examples = ", ".join(t.name for t in floating[:4])
        raise UsageError(f"the selection matches none of {len(floating)} floating tensors ({examples}, …)")
    if selection.explicit:
        names = [t.name for t in floating if t.name not in wanted] if check_rest else []
    else:
        names = [t.name for t in floating]
    differs = _differing(checkpoints, names, progress)
    chosen = wanted if selection.explicit else wanted & differs
    if not chosen:
        raise InputError(
            f"all {len(checkpoints)} checkpoints are identical: nothing varies, nothing to learn"
        )
    rest = sorted(differs - chosen)
    if check_rest and rest:
        more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
        raise InputError(
            f"{rest[0]}{more} outside the selection differ between checkpoints; select them too, "
            "or say with --base FILE whose values to use"
        )
    return Layout([(t.name, t.dtype, t.shape) for t in floating if t.name in chosen])


def _wanted(tensor: TensorInfo, norms: Sequence[str] | None, selection: Selection) -> bool:
    """Return whether a tensor may be generated; `norms` are the only modules wanted, if given."""
    if not selection.accepts(tensor.name) or not (tensor.shape or selection.include):
        return False
    module, _, leaf = tensor.name.rpartition(".")
    return norms is None or (leaf in {"weight", "bias"} and module in norms)


def _differing(checkpoints: Sequence[Checkpoint], names: Sequence[str], progress: Progress) -> set[str]:
    """Return which of the tensors are not the same in all checkpoints; each is compared with the first."""
    if not names:
        return set()
    first, *rest = checkpoints
    differing: set[str] = set()
    with progress.track("Comparing tensors", len(rest), "checkpoint") as tracker:
        for begin in range(0, len(rest), _COMPARED):
            part = rest[begin : begin + _COMPARED]
            same = [name for name in names if name not in differing]
            if same:
                flags = _core.varying_tensors([c.path for c in (first, *part)], same)
                differing.update(name for name, flag in zip(same, flags, strict=True) if flag)
            tracker.advance(len(part))
    return differing
