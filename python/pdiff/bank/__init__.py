"""Banks: many checkpoints of one network, reduced to the numbers that vary, laid out as rows on disk.

`collect` turns a folder of checkpoints into a bank; `Bank` streams rows out of one, and
`Loader` batches of them for training.
"""

from pdiff.bank.bank import Bank, Normalizer
from pdiff.bank.intake import collect
from pdiff.bank.loader import Loader
from pdiff.bank.manifest import Member, TaskRef
from pdiff.bank.stream import Stream
from pdiff.bank.view import View

__all__ = ["Bank", "Loader", "Member", "Normalizer", "Stream", "TaskRef", "View", "collect"]
