"""The small checkpoints that these tests read."""

import numpy as np

F32 = np.float32


def tensors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "bn.running_var": rng.random(3, dtype=F32),
        "fc10.weight": rng.standard_normal((2, 4), dtype=F32),
        "fc9.weight": rng.standard_normal(5).astype(np.float16),
        "steps": np.array(seed),
    }


def row(seed: int) -> np.ndarray:
    found = tensors(seed)
    names = ["bn.running_var", "fc9.weight", "fc10.weight"]
    return np.concatenate([found[name].astype(F32).ravel() for name in names])
