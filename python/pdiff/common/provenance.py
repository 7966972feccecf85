"""Record what made a result, and what its maker has seen."""

import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from pdiff import _core

if TYPE_CHECKING:
    import torch

DataKind = Literal["weights", "inputs", "gradients"]
"""What a generator has seen: weights alone, unlabelled training inputs too, or gradients on training data."""


class DataAccess(msgspec.Struct, frozen=True):
    """What a generator has seen besides the weights, which decides what it is compared with."""

    kind: DataKind = "weights"
    gradient_evaluations: int = 0
    """Minibatches of training data whose gradient was taken, for all models together."""


def provenance(device: "torch.device | None" = None) -> dict[str, Any]:
    """Return what a reader needs to repeat a result: versions, platform, threads, date (UTC), device used."""
    torch = sys.modules.get("torch")  # what was made without it says nothing of it
    made = {} if torch is None else {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
    on_gpu = torch is not None and device is not None and device.type == "cuda"
    return {
        "pdiff": _core.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **made,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "device": torch.cuda.get_device_name(device) if torch is not None and on_gpu else "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
