"""Generate checkpoints from a run or a bank, and write them the way they are wanted."""

from pdiff.generation.card import Judgement, rewrite_card
from pdiff.generation.generated import GENERATED, Generated
from pdiff.generation.sample import generate

__all__ = ["GENERATED", "Generated", "Judgement", "generate", "rewrite_card"]
