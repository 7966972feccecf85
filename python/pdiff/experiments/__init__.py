"""Run experiments from a task to a verdict: rows of the paper's tables, and ablations around one of them."""

from pdiff.experiments.ablate import Grid, ablate
from pdiff.experiments.experiment import Experiment, run_experiment
from pdiff.experiments.reproduce import reproduce

__all__ = ["Experiment", "Grid", "ablate", "reproduce", "run_experiment"]
