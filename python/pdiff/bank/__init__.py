"""Keep many checkpoints of one network as a bank: the numbers that vary, laid out as rows on disk.

`collect` turns a folder of checkpoints into a bank; `Bank` reads rows of one, and `Stream` batches of them in
a given order.
"""

from pdiff._core import Normalizer
from pdiff.bank.bank import Bank, View
from pdiff.bank.intake import collect
from pdiff.bank.manifest import Member, TaskRef
from pdiff.bank.stream import Stream

__all__ = ["Bank", "Member", "Normalizer", "Stream", "TaskRef", "View", "collect"]
