"""Training: the loop, the members of its steps, signals that stop it, and the directory that it leaves."""

from pdiff.common.distributed import choose_device
from pdiff.training.run import BankReference, Result, Run

__all__ = ["BankReference", "Result", "Run", "choose_device"]
