"""Train modules, stop and resume, and leave a run's directory."""

from pdiff.training.run import Run

__all__ = ["Run"]
