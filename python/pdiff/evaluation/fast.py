"""Small networks on the CPU: 1-D convolutions and linear layers with the samples last.

PyTorch runs a network of a few thousand numbers at a fifth of what the processor can do: tensors of 16
channels are reordered more than computed with, and BatchNorm, bias and ReLU each pass over memory again.
With activations laid out [L, C, samples] (places, channels) the patches that a convolution reads are memory
as it lies. BatchNorm is folded into the product before it, and ReLU into what writes its input. What remains
is a product a layer, which the core runs on blocks of samples that stay in the first caches.

The last bits differ from the plain network's; `pdiff.evaluation.decisions` says what is done about that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from pdiff._core import FoldedModel, SmallNetwork
from pdiff.evaluation.layout import Layout, Unsuited, Value

__all__ = ["FastForward", "Unsuited"]


class FastForward:
    """Runs a classifier, in evaluation mode, on inputs f32 [N, F] or [N, C, L] of classes `targets` [N].

    Inputs of more dimensions are for networks that flatten them. The network's tensors may change in place.
    Raises `Unsuited` for a network or inputs that it does not know.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        try:
            nodes = list(fx.Tracer().trace(network).nodes)
        except Exception:  # a user's forward may raise anything when it meets a proxy
            raise Unsuited("it cannot be traced") from None
        modules = dict(network.named_modules())
        if _global_forward_hooks or _global_forward_pre_hooks or any(map(_altered, modules.values())):
            raise Unsuited("modules that do not do what their classes say")
        numbers = (*network.parameters(), *filter(torch.is_floating_point, network.buffers()))
        if any(tensor.dtype != torch.float32 for tensor in (inputs, *numbers)):
            raise Unsuited("numbers that are not f32")
        if not all(tensor.is_contiguous() for tensor in numbers):
            raise Unsuited("numbers that are not in C order")
        if targets.dtype != torch.int64 or targets.shape != inputs.shape[:1]:
            raise Unsuited("targets that are not classes")
        self._core = SmallNetwork()
        self._layout = Layout(modules, self._core)
        self._cut: set[fx.Node] = set()
        self._values: dict[fx.Node, Value] = {}
        self._logits = self._plan(nodes, inputs)
        self._targets = targets.contiguous().numpy()

    def fold(self) -> FoldedModel:
        """Return the network as it is now, for `margins`."""
        return self._core.fold()

    def margins(self, models: Sequence[FoldedModel]) -> Tensor:
        """Return how far the logit of each sample's target is above the largest other one: M models → [M, N].

        NaN where a logit is not finite.
        """
        out = torch.empty(len(models), len(self._targets))
        self._core.margins(
            models,
            self._inputs,
            self._targets,
            out.numpy(),
            logits=self._logits.first,
            classes=self._logits.channels,
            threads=torch.get_num_threads(),
        )
        return out

    def _plan(self, nodes: list[fx.Node], inputs: Tensor) -> Value:
        """List the steps of a model and return where the logits will be."""
        for node in nodes:
            if node.op == "placeholder":
                self._values[node] = self._place(inputs)
            elif node.op == "output":
                value = self._values.get(node.args[0])  # type: ignore[arg-type]
                if value is None or not value.flat or value.places != 1:
                    raise Unsuited("outputs that are not logits")
                return value
            else:
                self._values[node] = self._add_step(node)
        raise Unsuited("no output")

    def _place(self, inputs: Tensor) -> Value:
        """Lay out the inputs in blocks [blocks, rows, samples] as the first layer reads them."""
        flat = inputs.dim() != 3
        inputs = inputs.flatten(1)[:, None] if flat else inputs
        samples, channels, places = inputs.shape
        value = self._layout.room(places, channels, flat)
        if value.first:
            raise Unsuited("two inputs")
        size = SmallNetwork.SAMPLES
        blocks = -(-samples // size)
        whole = inputs.new_zeros(blocks * size, places, channels)
        whole[:samples] = inputs.transpose(1, 2)
        self._inputs = whole.view(blocks, size, -1).transpose(1, 2).contiguous().numpy()
        return value

    def _add_step(self, node: fx.Node) -> Value:
        """Plan one node and return where its value will be."""
        operands = [self._values.get(argument) for argument in node.args]  # type: ignore[arg-type]
        module = self._layout.module(node)
        if node.kwargs or None in operands or (module is None and node.target not in (add, torch.add)):
            raise Unsuited(str(node.target))
        known: dict[type[nn.Module], Callable[[fx.Node, Any, Any], Value]] = {
            nn.Conv1d: self._convolve,
            nn.Linear: self._linear,
            nn.BatchNorm1d: self._normalise,
            nn.ReLU: self._relu,
            nn.AdaptiveAvgPool1d: self._pool,
            nn.Unflatten: _unflatten,
            nn.Flatten: _flatten,
            nn.Identity: _pass,
            nn.Dropout: _pass,
        }
        if module is None:
            return self._add(node, *operands)  # type: ignore[arg-type]
        if type(module) not in known:
            raise Unsuited(type(module).__name__)
        return known[type(module)](node, module, operands[0])

    def _convolve(self, node: fx.Node, module: nn.Conv1d, value: Value) -> Value:
        """Multiply the patches, which overlap in memory, with the weight."""
        (width,), (stride,), padding = module.kernel_size, module.stride, module.padding
        plain = module.dilation == (1,) and module.groups == 1 and module.padding_mode == "zeros"
        if value.flat or not plain or isinstance(padding, str) or module.in_channels != value.channels:
            raise Unsuited(str(module))
        places = (value.places + 2 * padding[0] - width) // stride + 1
        if places < 1:
            raise Unsuited("a kernel wider than what it reads")
        out = self._layout.room(places, module.out_channels)
        before, step = padding[0] * value.channels, stride * value.channels
        self._product(node, module.weight, module.bias, value, out, before=before, stride=step)
        return out

    def _linear(self, node: fx.Node, module: nn.Linear, value: Value) -> Value:
        """Multiply all places and channels with the weight."""
        if not value.flat or module.in_features != value.rows:
            raise Unsuited(str(module))
        out = self._layout.room(1, module.out_features, flat=True)
        weight = module.weight.view(-1, value.channels, value.places)
        self._product(node, weight, module.bias, value, out)
        return out

    def _product(
        self,
        node: fx.Node,
        weight: Tensor,
        bias: Tensor | None,
        value: Value,
        out: Value,
        *,
        before: int = 0,
        stride: int = 0,
    ) -> None:
        """Plan a product with a weight [outputs, channels, places], with what follows folded into it."""
        norm, folded = self._layout.norm_after(node), None
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = _numbers(norm.running_mean), _numbers(norm.running_var)
            folded = (mean, variance, _if_any(norm.weight), _if_any(norm.bias), norm.eps)
        self._core.product(
            value.first,
            out.first,
            rows=value.rows,
            before=before,
            stride=stride,
            places=out.places,
            weight=_numbers(weight),
            bias=_if_any(bias),
            norm=folded,
            relu=self._takes_relu(node),
        )

    def _takes_relu(self, node: fx.Node) -> bool:
        """Return whether the step that a node is does the ReLU after it too."""
        relu = self._layout.relu_after(node)
        if relu is not None:
            self._cut.add(relu)
        return relu is not None

    def _normalise(self, node: fx.Node, module: nn.BatchNorm1d, value: Value) -> Value:
        """Leave the value: the product before has done it."""
        if self._layout.norm_after(node.all_input_nodes[0]) is not module:
            raise Unsuited("BatchNorm that does not follow a product")
        return value

    def _relu(self, node: fx.Node, _: nn.ReLU, value: Value) -> Value:
        """Leave the value if the step before has done it, else cut a copy off at 0."""
        return value if node in self._cut else self._sum([value.first], value, relu=True)

    def _add(self, node: fx.Node, one: Value, other: Value) -> Value:
        """Add two values of one shape."""
        if one.shape != other.shape:
            raise Unsuited("an addition of two shapes")
        return self._sum([one.first, other.first], one, relu=self._takes_relu(node))

    def _sum(self, firsts: list[int], like: Value, *, relu: bool) -> Value:
        """Plan the sum of values shaped alike."""
        out = self._layout.room(*like.shape)
        self._core.sum(firsts, out.first, rows=out.rows, divisor=1.0, relu=relu)
        return out

    def _pool(self, node: fx.Node, module: nn.AdaptiveAvgPool1d, value: Value) -> Value:
        """Average over all places."""
        if value.flat or module.output_size not in (1, (1,)):
            raise Unsuited(str(module))
        out = self._layout.room(1, value.channels)
        places = [value.first + place * value.channels for place in range(value.places)]
        relu = self._takes_relu(node)
        self._core.sum(places, out.first, rows=out.rows, divisor=value.places, relu=relu)
        return out


def _numbers(tensor: Tensor) -> NDArray[np.float32]:
    """Return a view of a tensor's memory."""
    return tensor.detach().numpy()


def _if_any(tensor: Tensor | None) -> NDArray[np.float32] | None:
    return None if tensor is None else _numbers(tensor)


def _unflatten(_: fx.Node, module: nn.Unflatten, value: Value) -> Value:
    """Take features [B, L] for one channel [B, 1, L]."""
    if (
        not value.flat
        or value.channels != 1
        or (module.dim, *module.unflattened_size) != (1, 1, value.places)
    ):
        raise Unsuited(str(module))
    return replace(value, flat=False)


def _altered(module: nn.Module) -> bool:
    """Return whether a module does something else than its class does in evaluation mode."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks) or "forward" in vars(module) or module.training


def _flatten(_: fx.Node, module: nn.Flatten, value: Value) -> Value:
    """Merge all dimensions but the first."""
    if (module.start_dim, module.end_dim) != (1, -1):
        raise Unsuited(str(module))
    return replace(value, flat=True)


def _pass(_: fx.Node, __: nn.Module, value: Value) -> Value:
    return value
