"""What made a result."""

import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from pdiff import _core


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Return what a reader needs to repeat a result: versions, platform, threads, date (UTC), device used."""
    return {
        "pdiff": _core.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device and device.type == "cuda" else "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
