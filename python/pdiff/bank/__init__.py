"""Banks: many checkpoints of one network, reduced to the numbers that vary, laid out as rows on disk.

`collect` turns a folder of checkpoints into a bank; `Bank` streams rows out of one.
"""

from pdiff.bank.bank import Bank, Normalizer
from pdiff.bank.intake import collect
from pdiff.bank.manifest import Member, TaskRef

__all__ = ["Bank", "Member", "Normalizer", "TaskRef", "collect"]
