"""Make banks to learn from: train a network, then save checkpoints along its further way."""

from pdiff.zoo.build import ZooResult, build_zoo
from pdiff.zoo.subset import select_subset

__all__ = ["ZooResult", "build_zoo", "select_subset"]
