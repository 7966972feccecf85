"""Tasks whose targets are numbers."""

from torch import Tensor, nn

from pdiff.tasks.base import Task
from pdiff.tasks.metrics import rmse, same_shape


class Regression(Task):
    """A task whose outputs and targets are numbers of one shape [B, ...]; `tolerance` says what is right."""

    metric = rmse()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return nn.functional.mse_loss(outputs, same_shape(outputs, targets))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the absolute error of each number: [B, S]."""
        return (outputs - same_shape(outputs, targets)).abs().reshape(len(outputs), -1)
