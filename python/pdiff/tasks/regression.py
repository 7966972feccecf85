"""Define tasks whose targets are numbers, and the error that they are scored by."""

from torch import Tensor, nn

from pdiff.common.errors import UsageError
from pdiff.tasks.base import Metric, Task


def rmse() -> Metric:
    """Return the root of the mean squared error; outputs and targets [B, ...] of one shape."""

    def measure(outputs: Tensor, targets: Tensor) -> Tensor:
        squares = (outputs - _same_shape(outputs, targets)).square()
        return squares.reshape(len(squares), -1).mean(dim=1, keepdim=True)

    return Metric("RMSE", False, False, measure, lambda measured: float(measured.double().mean().sqrt()))


def _same_shape(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the targets; raises `UsageError` if outputs have another shape, which would broadcast."""
    if outputs.shape != targets.shape:
        raise UsageError(
            f"outputs {list(outputs.shape)} and targets {list(targets.shape)}; one shape is wanted"
        )
    return targets


class Regression(Task):
    """A task whose outputs and targets are numbers of one shape [B, ...]; `tolerance` says what is right."""

    metric = rmse()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return nn.functional.mse_loss(outputs, _same_shape(outputs, targets))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the absolute error of each number: [B, S]."""
        return (outputs - _same_shape(outputs, targets)).abs().reshape(len(outputs), -1)
