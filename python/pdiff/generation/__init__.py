"""Drawing new checkpoints from a run, and writing them the way they are wanted."""

from pdiff.generation.card import rewrite_card
from pdiff.generation.formats import FORMATS, Format
from pdiff.generation.generated import GENERATED, Cost, Generated, Info, RunReference
from pdiff.generation.run import generate
from pdiff.generation.sampling import BLOCK, sample_rows

__all__ = [
    "BLOCK",
    "FORMATS",
    "GENERATED",
    "Cost",
    "Format",
    "Generated",
    "Info",
    "RunReference",
    "generate",
    "rewrite_card",
    "sample_rows",
]
