"""List which rule holds for which operation."""

import re

import torch
from torch import fx

from pdiff.alignment.rules import layers, shapes
from pdiff.alignment.rules.operation import Rule

_POINTWISE = ("hardswish", "_prelu_kernel", "detach", "alias", "lift_fresh", "_to_copy")
"""Beside those that torch itself calls pointwise."""
_REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm", "prod", "logsumexp")
_UNIFORM = ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "empty")
_BATCH_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update")
_POOLING = re.compile(r"_?(adaptive_)?(max|avg)_pool\dd(_with_indices)?|upsample_\w+\dd")

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, shapes.pointwise),
    **dict.fromkeys(_REDUCTIONS, shapes.reduction),
    **dict.fromkeys(_UNIFORM, shapes.uniform),
    **dict.fromkeys(("_softmax", "_log_softmax"), shapes.same),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze"), shapes.view),
    **dict.fromkeys(("split", "split_with_sizes"), shapes.split),
    "arange": shapes.ordered,
    "cat": shapes.concatenation,
    "constant_pad_nd": shapes.padding,
    "expand": shapes.expand,
    "permute": shapes.permute,
    "select": shapes.select,
    "slice": shapes.cut,
    "stack": shapes.stack,
    "t": shapes.t,
    "transpose": shapes.transpose,
    "unbind": shapes.unbind,
    "unsqueeze": shapes.unsqueeze,
    **dict.fromkeys(("mm", "bmm"), layers.matmul),
    **dict.fromkeys(("addmm", "baddbmm"), layers.addmm),
    **dict.fromkeys(_BATCH_NORMS, layers.batch_norm),
    "mv": layers.mv,
    "convolution": layers.convolution,
    "embedding": layers.embedding,
    "native_group_norm": layers.group_norm,
    "native_layer_norm": layers.layer_norm,
    "_scaled_dot_product_flash_attention_for_cpu": layers.attention,
}


def rule_of(node: fx.Node) -> Rule | None:
    """Return the rule of a node's operation, None if it is not known."""
    operation = node.target
    assert isinstance(operation, torch._ops.OpOverload)
    name = operation._schema.name.removeprefix("aten::")
    if torch.Tag.pointwise in operation.tags:
        return shapes.pointwise
    if operation._schema.is_mutable:
        return None
    return _RULES.get(name, shapes.pooling if _POOLING.fullmatch(name) else None)
