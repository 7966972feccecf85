"""What the name of a file says about it, before anything is read."""

import re

__all__ = ["ADAPTER_CONFIG", "INDEX", "OURS", "is_index", "is_piece", "is_weights"]

ADAPTER_CONFIG = "adapter_config.json"
INDEX = ".index.json"
"""What follows the name of a sharded checkpoint in the name of its index."""
OURS = (("bank.json",), ("run.json",), ("generated.json",), ("results.json", "report.html"))
"""Files that together mark a folder as pdiff's own; other tools write a `results.json` too."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt.tar")
_BESIDE_WEIGHTS = re.compile(
    r"(optimizer|optim_state|(lr_)?scheduler|(grad_)?scaler|sampler|rng_state|random_states|training_args"
    r"|trainer_state|dl_state_dict)"
    r"|.*[._-](optimizer|optim_states?|scheduler|scaler)\.[^.]+$"
    r"|.*\.tmp($|[._-])"
)
_INDEX = re.compile(r".+\.safetensors\.index\.json|(diffusion_)?pytorch_model.*\.bin\.index\.json")
_PIECE = re.compile(r".*-\d{4,6}-of-\d{4,6}\.[a-z]+")


def is_weights(name: str) -> bool:
    """Return whether a file of this name should hold weights: by its suffix, and no optimiser state."""
    name = name.lower()
    return name.endswith(_SUFFIXES) and not _BESIDE_WEIGHTS.match(name)


def is_index(name: str) -> bool:
    """Return whether a file of this name says which shards make up one checkpoint."""
    return name.endswith(INDEX) and bool(_INDEX.fullmatch(name))


def is_piece(name: str) -> bool:
    """Return whether a file of this name is one shard of several (`model-00001-of-00002.safetensors`)."""
    return bool(_PIECE.fullmatch(name.lower()))
