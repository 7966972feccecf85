"""From paths to checkpoints: finding, opening, inspecting and converting them. Never imports torch."""

from pdiff.checkpoints.conversion import Conversion, convert
from pdiff.checkpoints.facts import Inspection
from pdiff.checkpoints.find import find_checkpoints
from pdiff.checkpoints.inspection import inspect
from pdiff.checkpoints.opening import difference, open_checkpoints, open_one
from pdiff.checkpoints.records import Candidate, Checkpoint, Choice, Example, Found, Opened, Shape

__all__ = [
    "Candidate",
    "Checkpoint",
    "Choice",
    "Conversion",
    "Example",
    "Found",
    "Inspection",
    "Opened",
    "Shape",
    "convert",
    "difference",
    "find_checkpoints",
    "inspect",
    "open_checkpoints",
    "open_one",
]
