"""Say of each operation of PyTorch which axes it keeps in the same order.

A rule takes an `Operation`, joins and fixes axes of what it reads, and returns the axes of its value, or a
tuple of them for an operation with several. Names are those of ATen's schemas.
"""

from pdiff.alignment.rules.operation import CONTRACTED, Operation, Rule, Values
from pdiff.alignment.rules.table import rule_of

__all__ = ["CONTRACTED", "Operation", "Rule", "Values", "rule_of"]
