"""Keep many checkpoints of one network as a bank: the numbers that vary, laid out as rows on disk.

`collect` turns a folder of checkpoints into a bank; `Bank` reads rows of one, and `Stream` batches of them in
a given order, as torch's tensors.
"""

from typing import TYPE_CHECKING, Any

from pdiff._core import Normalizer
from pdiff.bank.bank import Bank, View
from pdiff.bank.intake import collect
from pdiff.bank.manifest import Member, TaskRef

if TYPE_CHECKING:
    from pdiff.bank.stream import Stream

__all__ = ["Bank", "Member", "Normalizer", "Stream", "TaskRef", "View", "collect"]


def __getattr__(name: str) -> Any:
    if name != "Stream":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pdiff.bank.stream import Stream  # noqa: PLC0415 (imports torch)

    return Stream
