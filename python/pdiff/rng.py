"""Counter-based randomness: every stream is a function of (seed, purpose, index), never of what ran before.

So sample i is the same whatever the number of samples, and step n draws the same noise after a resume.
"""

import hashlib

import numpy as np
import torch

__all__ = ["numpy_generator", "torch_generator"]


def _key(seed: int, purpose: str, index: int) -> bytes:
    """Return 16 bytes that depend on all three arguments."""
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()


def numpy_generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return NumPy's Philox generator for (seed, purpose, index)."""
    key = np.frombuffer(_key(seed, purpose, index), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def torch_generator(
    seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator on `device` for (seed, purpose, index)."""
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(_key(seed, purpose, index)[:8], "little"))
    return generator
