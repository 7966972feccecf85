"""The small checkpoints that these tests read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pdiff import _core

F32 = np.float32


def tensors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "bn.running_var": rng.random(3, dtype=F32),
        "fc10.weight": rng.standard_normal((2, 4), dtype=F32),
        "fc9.weight": rng.standard_normal(5).astype(np.float16),
        "steps": np.array(seed),
    }


def origins(paths: Sequence[Path]) -> list[_core.Origin]:
    return [_core.Checkpoint([path]).origin for path in paths]


def row(seed: int) -> np.ndarray:
    found = tensors(seed)
    names = ["bn.running_var", "fc9.weight", "fc10.weight"]
    return np.concatenate([found[name].astype(F32).ravel() for name in names])
