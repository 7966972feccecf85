"""Judging generated models: how good, how new, and whether noise, averaging or a Gaussian would have done."""

from pdiff.evaluation.families import label
from pdiff.evaluation.run import evaluate

__all__ = ["evaluate", "label"]
