"""Follow axes through operations that move, cut, repeat or reduce them and multiply nothing."""

import re
from collections.abc import Sequence
from math import gcd
from typing import Any

from pdiff.alignment.axes import Axes, Part, blocks, fix, fixed, free, join, size, viewed
from pdiff.alignment.rules.operation import Operation, broadcast


def pointwise(of: Operation) -> Axes:
    """Join the operands with the value."""
    out = free(of.shape)
    for operand in of.axes_of(of.node.all_input_nodes):
        broadcast(operand, out)
    return out


def same(of: Operation) -> Axes:
    """Keep all axes, as a softmax does."""
    return of.axes(0)


def uniform(of: Operation) -> Axes:
    """Leave a tensor free whose numbers are alike."""
    return free(of.shape)


def ordered(of: Operation) -> Axes:
    """Fix a tensor whose numbers are counted."""
    return fixed(of.shape)


def reduction(of: Operation) -> Axes:
    """Drop the axes that are reduced, whose order does not matter."""
    axes = of.axes(0)
    given = of.argument("dim")
    dims = [given] if isinstance(given, int) else list(given or range(len(axes)))
    reduced = {dim % len(axes) for dim in dims} if axes else set()
    if len(of.shape) == len(axes):
        return [[] if index in reduced else axis for index, axis in enumerate(axes)]
    return [axis for index, axis in enumerate(axes) if index not in reduced]


def pooling(of: Operation) -> Any:
    """Keep samples and channels, fix positions; of maxima, also where they were."""
    name, axes = str(of.node.target), of.axes(0)
    found = re.search(r"(\d)d", name)
    assert found
    positions = int(found[1])
    fix(axes[-positions:])
    shape = of.shape_of(0) if "max_pool" in name else of.shape
    out = [*axes[:-positions], *fixed(shape[-positions:])]
    return (out, fixed(shape)) if "max_pool" in name else out


def view(of: Operation) -> Axes:
    """Keep the order of the numbers in another shape."""
    return viewed(of.axes(0), of.shape)


def permute(of: Operation) -> Axes:
    """Move the axes."""
    axes = of.axes(0)
    return [axes[dim % len(axes)] for dim in of.argument("dims")]


def transpose(of: Operation) -> Axes:
    """Exchange two axes."""
    axes = list(of.axes(0))
    one, other = of.dim(len(axes), "dim0"), of.dim(len(axes), "dim1")
    axes[one], axes[other] = axes[other], axes[one]
    return axes


def t(of: Operation) -> Axes:
    """Exchange the axes of a matrix."""
    return of.axes(0)[::-1]


def unsqueeze(of: Operation) -> Axes:
    """Insert an axis of length 1."""
    axes = list(of.axes(0))
    axes.insert(of.dim(len(axes) + 1), [])
    return axes


def expand(of: Operation) -> Axes:
    """Repeat axes of length 1: copies have no order."""
    out = free(of.shape)
    broadcast(of.axes(0), out)
    return out


def select(of: Operation) -> Axes:
    """Fix and drop the axis of which one place is taken."""
    axes = list(of.axes(0))
    fix([axes.pop(of.dim(len(axes)))])
    return axes


def unbind(of: Operation) -> tuple[Axes, ...]:
    """Fix and drop the axis whose places are taken apart."""
    axes = list(of.axes(0))
    axis = axes.pop(of.dim(len(axes)))
    fix([axis])
    return (axes,) * size(axis)


def cut(of: Operation) -> Axes:
    """Take a stretch of an axis (ATen's `slice`)."""
    axes = of.axes(0)
    dim = of.dim(len(axes))
    length, begin = size(axes[dim]), of.argument("start") or 0
    begin = max(begin + length, 0) if begin < 0 else begin
    return _stretches(axes, dim, [(begin, of.shape[dim])], of.argument("step"))[0]


def split(of: Operation) -> tuple[Axes, ...]:
    """Take an axis apart into stretches."""
    axes = of.axes(0)
    dim = of.dim(len(axes))
    length = size(axes[dim])
    given = of.argument("split_size") or of.argument("split_sizes")
    if isinstance(given, int):
        given = [min(given, length - begin) for begin in range(0, length, given)]
    begins = [sum(given[:index]) for index in range(len(given))]
    return tuple(_stretches(axes, dim, list(zip(begins, given, strict=True))))


def _stretches(axes: Axes, dim: int, stretches: Sequence[tuple[int, int]], step: int = 1) -> list[Axes]:
    """Return the axes of stretches (begin, length) of an axis, whose blocks keep their places."""
    axis, length = axes[dim], size(axes[dim])
    if stretches == [(0, length)] and step == 1:
        return [axes]
    unit = gcd(length, *(number for stretch in stretches for number in stretch)) if step == 1 else 1
    block = blocks(axis, unit)
    return [
        [*axes[:dim], [Part(taken // unit, fixed=True), *block], *axes[dim + 1 :]] for _, taken in stretches
    ]


def concatenation(of: Operation) -> Axes:
    """Join all axes but that of the concatenation, which is fixed: its units are of several sources."""
    out = free(of.shape)
    dim = of.dim(len(out))
    for axes in of.axes_of(of.node.args[0]):  # type: ignore[arg-type]
        fix([axes[dim]])
        for place, axis in enumerate(axes):
            if place != dim:
                join(axis, out[place])
    fix([out[dim]])
    return out


def stack(of: Operation) -> Axes:
    """Join the axes of tensors that are laid side by side along a new one."""
    out = free(of.shape)
    dim = of.dim(len(out))
    for axes in of.axes_of(of.node.args[0]):  # type: ignore[arg-type]
        broadcast(axes, [*out[:dim], *out[dim + 1 :]])
    fix([out[dim]])
    return out


def padding(of: Operation) -> Axes:
    """Fix the axes that are padded."""
    axes, ends = of.axes(0), fixed(of.shape)
    changed = [size(axis) != size(end) for axis, end in zip(axes, ends, strict=True)]
    fix(axis for axis, change in zip(axes, changed, strict=True) if change)
    return [end if change else axis for axis, end, change in zip(axes, ends, changed, strict=True)]
