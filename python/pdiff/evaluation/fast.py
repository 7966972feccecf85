"""Small networks on the CPU: 1-D convolutions and linear layers with the samples last.

PyTorch runs a network of a few thousand numbers at a fifth of what the processor can do: tensors of 16
channels are reordered more than computed with, and BatchNorm, bias and ReLU each pass over memory again.
With activations laid out [L, C, B] (places, channels, samples) the patches that a convolution reads are
slices of memory as they lie, so it is one batched matrix product. BatchNorm is folded into the product
before it, and a value is kept as u + shift, a vector over channels that takes up all biases. What remains
is a product and a maximum a layer, on blocks of samples that stay in the cache, in memory that never moves.

The last bits differ from the plain network's; `pdiff.evaluation.decisions` says what is done about that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import add
from typing import Any

import torch
from torch import Tensor, fx, nn

from pdiff.evaluation.layout import Layout, Unsuited, Value, samples_last

__all__ = ["FastForward", "Unsuited"]

_BLOCK_BYTES = 3 * 2**19
"""The largest activation of a block of samples: most of a core's second-level cache."""
_BLOCK = (64, 2000)
"""Fewest and most samples in a block."""


class FastForward:
    """Runs `network`, in evaluation mode, on inputs [N, F] or [N, C, L] f32, a block of samples at a time.

    Its tensors may change in place between runs. Raises `Unsuited` for a network or inputs that it does not
    know.
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        try:
            self._nodes = list(fx.Tracer().trace(network).nodes)
        except Exception:  # a user's forward may raise anything when it meets a proxy
            raise Unsuited("it cannot be traced") from None
        modules = dict(network.named_modules())
        if any(module._forward_hooks or module._forward_pre_hooks for module in modules.values()):
            raise Unsuited("hooks")
        if any(tensor.dtype != torch.float32 for tensor in (inputs, *network.parameters())):
            raise Unsuited("numbers that are not f32")
        self._layout = Layout(modules)
        self._plan([inputs[:1]])
        largest = max(value.data[..., 0].numel() for value in self._values.values())
        most = min(max(_BLOCK_BYTES // (4 * largest), _BLOCK[0]), _BLOCK[1])
        count = -(-len(inputs) // most)
        self._block = 0
        self._plan(torch.split(inputs, -(-len(inputs) // count)))
        self._all = torch.empty(len(self._outputs), len(inputs))

    def logits(self) -> Tensor:
        """Return the logits [classes, N]."""
        place = 0
        for prepare in self._preparations:
            prepare()
        for index, samples in enumerate(self._samples):
            self._block = index
            for step in self._steps:
                step()
            self._all[:, place : place + samples] = self._outputs[:, :samples]
            place += samples
        return self._all

    def _plan(self, blocks: Sequence[Tensor]) -> None:
        """Lay out the memory, and list what is done for a model and for a block of samples."""
        self._samples = [len(block) for block in blocks]
        self._preparations: list[Callable[[], object]] = []
        self._steps: list[Callable[[], object]] = []
        self._values: dict[fx.Node, Value] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                value = self._layout.inputs(
                    node, [samples_last(block) for block in blocks], blocks[0].dim() != 3
                )
            elif node.op == "output":
                self._outputs = self._logits(self._values.get(node.args[0]))
                return
            else:
                value = self._add_step(node)
            self._values[node] = value
        raise Unsuited("no output")

    def _add_step(self, node: fx.Node) -> Value:
        """Plan one node and return where its value will be."""
        operands = [self._values.get(argument) for argument in node.args]  # type: ignore[arg-type]
        module = self._layout.module(node)
        if node.kwargs or None in operands or (module is None and node.target not in (add, torch.add)):
            raise Unsuited(str(node.target))
        reads_any = type(module) in (nn.Conv1d, nn.Linear, nn.Unflatten, nn.Flatten, nn.Identity, nn.Dropout)
        if not reads_any and any(value.blocks for value in operands if value is not None):
            raise Unsuited("inputs that go elsewhere than into a product")
        known: dict[type[nn.Module], Callable[[fx.Node, Any, Any], Value]] = {
            nn.Conv1d: self._convolve,
            nn.Linear: self._linear,
            nn.BatchNorm1d: self._normalise,
            nn.ReLU: self._relu,
            nn.AdaptiveAvgPool1d: self._pool,
            nn.Unflatten: self._unflatten,
            nn.Flatten: _flatten,
            nn.Identity: _pass,
            nn.Dropout: _pass,
        }
        if module is None:
            return self._sum(node, *operands)  # type: ignore[arg-type]
        if type(module) not in known:
            raise Unsuited(type(module).__name__)
        return known[type(module)](node, module, operands[0])

    def _convolve(self, node: fx.Node, module: nn.Conv1d, value: Value) -> Value:
        """Multiply patches [Lo, K·C, B], which overlap in memory, with the weight [O, K·C]."""
        (width,), (stride,), padding = module.kernel_size, module.stride, module.padding
        plain = module.dilation == (1,) and module.groups == 1 and module.padding_mode == "zeros"
        if value.flat or not plain or isinstance(padding, str) or value.pad < padding[0]:
            raise Unsuited(str(module))
        outside = [value.data[: value.pad], value.data[value.data.shape[0] - value.pad :]]
        channels, samples = value.data.shape[1:]
        places = (value.inner.shape[0] + 2 * padding[0] - width) // stride + 1
        shape, row = (places, width * channels, samples), channels * samples
        patches = [
            memory[value.pad - padding[0] :].as_strided(shape, (stride * row, samples, 1))
            for memory in value.blocks or [value.data] * len(self._samples)
        ]
        out = self._layout.room(node, places, module.out_channels, samples)
        weight = torch.empty(module.out_channels, width, channels)
        many, inner = weight.flatten(1).expand(places, -1, -1), out.inner

        def prepare() -> None:
            weight.copy_(module.weight.transpose(1, 2))
            for part in outside:  # u + shift has to be 0 there
                part.copy_(-value.shift[:, None])
            torch.mv(module.weight.sum(2), value.shift, out=out.shift)
            self._finish(node, module.bias, weight, out.shift)

        self._preparations.append(prepare)
        self._steps.append(lambda: torch.bmm(many, patches[self._block], out=inner))
        return out

    def _linear(self, node: fx.Node, module: nn.Linear, value: Value) -> Value:
        """Multiply all places and channels [L·C, B] with the weight [O, L·C]."""
        places, channels, samples = value.inner.shape
        if not value.flat or module.in_features != places * channels:
            raise Unsuited(str(module))
        out = replace(self._layout.room(node, 1, module.out_features, samples), flat=True)
        weight = torch.empty(module.out_features, places, channels)
        rows, inner = weight.flatten(1), out.inner[0]
        features = [
            memory[value.pad : memory.shape[0] - value.pad].view(-1, samples)
            for memory in value.blocks or [value.data] * len(self._samples)
        ]

        def prepare() -> None:
            by_channel = module.weight.view(-1, channels, places)
            weight.copy_(by_channel.transpose(1, 2))
            torch.mv(by_channel.sum(2), value.shift, out=out.shift)
            self._finish(node, module.bias, weight, out.shift)

        self._preparations.append(prepare)
        self._steps.append(lambda: torch.mm(rows, features[self._block], out=inner))
        return out

    def _finish(self, node: fx.Node, bias: Tensor | None, weight: Tensor, shift: Tensor) -> None:
        """Fold what follows a product into its weight [O, ...] and shift [O]."""
        if bias is not None:
            shift += bias
        norm = self._layout.norm_after(node)
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor = (norm.running_var + norm.eps).rsqrt_()
            if norm.weight is not None:
                factor *= norm.weight
            weight.mul_(factor[:, None, None])
            shift.sub_(norm.running_mean).mul_(factor)
            if norm.bias is not None:
                shift += norm.bias

    def _normalise(self, node: fx.Node, module: nn.BatchNorm1d, value: Value) -> Value:
        """Leave the value: the product before has done it."""
        if self._layout.norm_after(node.all_input_nodes[0]) is not module:
            raise Unsuited("BatchNorm that does not follow a product")
        return value

    def _relu(self, node: fx.Node, _: nn.ReLU, value: Value) -> Value:
        """Cut u off where u + shift is 0, in place if nobody else reads it."""
        out = value
        if not self._layout.alone(node.all_input_nodes[0]):
            out = replace(self._layout.room(node, *value.inner.shape), flat=value.flat, shift=value.shift)
        source, shift, inner = value.inner, value.shift[:, None], out.inner
        edge = torch.empty_like(shift)
        self._preparations.append(lambda: torch.neg(shift, out=edge))
        self._steps.append(lambda: torch.maximum(source, edge, out=inner))
        return out

    def _sum(self, node: fx.Node, one: Value, other: Value) -> Value:
        """Add two values of one shape."""
        if one.inner.shape != other.inner.shape or one.flat != other.flat:
            raise Unsuited("an addition of two shapes")
        out = replace(self._layout.room(node, *one.inner.shape), flat=one.flat)
        self._preparations.append(lambda: torch.add(one.shift, other.shift, out=out.shift))
        left, right, inner = one.inner, other.inner, out.inner
        self._steps.append(lambda: torch.add(left, right, out=inner))
        return out

    def _pool(self, node: fx.Node, module: nn.AdaptiveAvgPool1d, value: Value) -> Value:
        """Average over all places, which the shift passes through."""
        if value.flat or module.output_size not in (1, (1,)):
            raise Unsuited(str(module))
        out = replace(self._layout.room(node, 1, *value.inner.shape[1:]), shift=value.shift)
        source, inner = value.inner, out.inner
        self._steps.append(lambda: torch.mean(source, dim=0, keepdim=True, out=inner))
        return out

    def _unflatten(self, node: fx.Node, module: nn.Unflatten, value: Value) -> Value:
        """Take input features [B, L] for one channel [B, 1, L]."""
        places, features, samples = value.inner.shape
        into = (module.dim, *module.unflattened_size)
        if value.blocks is None or places != 1 or into != (1, 1, features):
            raise Unsuited(str(module))
        return self._layout.inputs(
            node, [memory.view(features, 1, samples) for memory in value.blocks], flat=False
        )

    def _logits(self, value: Value | None) -> Tensor:
        """Return where the finished outputs [classes, B] will be."""
        if value is None or not value.flat or value.inner.shape[0] != 1:
            raise Unsuited("outputs that are not logits")
        logits, shift = value.inner[0], value.shift[:, None]
        self._steps.append(lambda: logits.add_(shift))
        return logits


def _flatten(_: fx.Node, module: nn.Flatten, value: Value) -> Value:
    """Merge all dimensions but the first."""
    if (module.start_dim, module.end_dim) != (1, -1):
        raise Unsuited(str(module))
    return replace(value, flat=True)


def _pass(_: fx.Node, __: nn.Module, value: Value) -> Value:
    return value
