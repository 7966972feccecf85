"""Find, open, describe and convert checkpoints. Nothing here imports torch."""

from pdiff.checkpoints.conversion import convert, convert_folder
from pdiff.checkpoints.find import find_checkpoints, none_found
from pdiff.checkpoints.inspection import inspect
from pdiff.checkpoints.opening import difference, open_checkpoints, open_one
from pdiff.checkpoints.records import Checkpoint, Choice, Example, Found, Opened

__all__ = [
    "Checkpoint",
    "Choice",
    "Example",
    "Found",
    "Opened",
    "convert",
    "convert_folder",
    "difference",
    "find_checkpoints",
    "inspect",
    "none_found",
    "open_checkpoints",
    "open_one",
]
