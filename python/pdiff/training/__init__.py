"""Training: the loop, the members of its steps, signals that stop it, and the directory that it leaves."""

from pdiff.training.run import Run

__all__ = ["Run"]
