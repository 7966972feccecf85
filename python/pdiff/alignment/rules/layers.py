"""Follow axes through layers: products with weights, attention, norms, tables of embeddings."""

from pdiff.alignment.axes import Axes, Axis, Part, fix, fixed, join, size
from pdiff.alignment.rules.operation import Operation, broadcast

_SEVERAL = 9
"""More values than any of these operations has."""


def _product(one: Axes, other: Axes) -> Axes:
    """Return the axes of [..., n, k] @ [..., k, m]."""
    join(one[-1], other[-2])
    for ours, theirs in zip(one[:-2], other[:-2], strict=True):
        join(ours, theirs)
    return [*one[:-1], other[-1]]


def matmul(of: Operation) -> Axes:
    """Follow a product of matrices, or of batches of them."""
    of.contracts(0, 1)
    return _product(of.axes(0), of.axes(1))


def mv(of: Operation) -> Axes:
    """Follow a product of a matrix and a vector."""
    of.contracts(0, 1)
    matrix, vector = of.axes(0), of.axes(1)
    join(matrix[1], vector[0])
    return [matrix[0]]


def addmm(of: Operation) -> Axes:
    """Follow bias + x @ w, of matrices or of batches of them."""
    of.contracts(1, 2)
    out = _product(of.axes(1), of.axes(2))
    broadcast(of.axes(0), out)
    return out


def convolution(of: Operation) -> Axes:
    """Follow input [N, C, ...], weight [O, C / G, ...], or [C, O / G, ...] transposed, with G groups.

    Groups may move as blocks, and the channels within all groups alike.
    """
    of.contracts(0)
    inputs, weight = of.axes(0), of.axes(1)
    fix([*inputs[2:], *weight[2:]])
    groups: int = of.argument("groups")
    group, within = Part(groups), [Part(size(inputs[1]) // groups)]
    join(inputs[1], [group, *within])
    if of.argument("transposed"):
        join(weight[0], [group, *within])
        channels: Axis = [group, *weight[1]]
    else:
        join(weight[1], within)
        channels = [group, Part(size(weight[0]) // groups)]
        join(weight[0], channels)
    for bias in of.axes_of(of.node.args[2:3]):
        join(bias[0], channels)
    return [inputs[0], channels, *fixed(of.shape[2:])]


def attention(of: Operation) -> tuple[Axes, ...]:
    """Follow queries [B, H, L, d], keys [B, H, S, d] and values [B, H, S, e]; positions are fixed."""
    of.contracts(0, 1, 2)
    query, key, value = (of.axes(index) for index in range(3))
    fix([query[-2], key[-2], value[-2]])
    for other in (key, value):
        for ours, theirs in zip(query[:-2], other[:-2], strict=True):
            join(ours, theirs)
    join(query[-1], key[-1])
    for mask in of.axes_of([of.argument("attn_mask")]):
        fix(mask)
    return ([*query[:-1], value[-1]], *_others(of))


def batch_norm(of: Operation) -> tuple[Axes, ...]:
    """Join the channels with weight, bias and statistics."""
    axes = of.axes(0)
    for operand in of.axes_of(of.node.args[1:5]):
        join(operand[0], axes[1])
    return (axes, *_others(of))


def layer_norm(of: Operation) -> tuple[Axes, ...]:
    """Join the last axes, of whose units mean and variance are taken, with weight and bias."""
    axes = of.axes(0)
    for operand in of.axes_of(of.node.args[2:4]):
        broadcast(operand, axes)
    return (axes, *_others(of))


def group_norm(of: Operation) -> tuple[Axes, ...]:
    """Let groups move as blocks, and channels within all groups alike."""
    axes, groups = of.axes(0), of.argument("group")
    join(axes[1], [Part(groups), Part(size(axes[1]) // groups)])
    for operand in of.axes_of(of.node.args[1:3]):
        join(operand[0], axes[1])
    return (axes, *_others(of))


def embedding(of: Operation) -> Axes:
    """Fix the entries of the table, which the data names."""
    table, indices = of.axes(0), of.axes(1)
    fix([table[0]])
    return [*indices, table[1]]


def _others(of: Operation) -> list[Axes]:
    """Return the axes of all values but the first, fixed: statistics that nothing reads afterwards."""
    return [fixed(of.shape_of(index)) for index in range(1, _SEVERAL)]
