"""Say what a generator has seen of a network's data."""

from typing import Literal

import msgspec

DataKind = Literal["weights", "inputs", "gradients"]
"""What a generator has seen: weights alone, unlabelled training inputs too, or gradients on training data."""


class DataAccess(msgspec.Struct, frozen=True):
    """What a generator has seen besides the weights, which decides what it is compared with."""

    kind: DataKind = "weights"
    gradient_evaluations: int = 0
    """Minibatches of training data whose gradient was taken, for all models together."""
