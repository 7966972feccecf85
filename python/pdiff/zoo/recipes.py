"""List how each built-in network is trained and turned into a bank: a table, not code.

The protocol is the paper's (arXiv 2402.13144, section 3.1 and appendix): train to convergence, then take
K more steps at a high constant learning rate and keep a checkpoint of each. The paper's rates for those
steps are AdamW 3e-2 for normalisation layers and 1e-3 for whole networks. Ours are set so that the bank's
mean accuracy stays near the converged network's while its members differ.
"""

from dataclasses import dataclass, replace

from pdiff.common.errors import UsageError, unknown

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Phase:
    """How the steps of one phase are taken. SGD has a momentum of 0.9."""

    optimizer: str
    lr: float
    batch_size: int
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"learning rate {self.lr}: expected a number above 0")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a zoo besides the task, the seed and K."""

    epochs: int
    converge: Phase
    """Training from scratch; its rate is the peak of one cycle."""
    whole: Phase
    """The bank's steps when the subset is the whole network; the rate is constant."""
    part: Phase
    """The bank's steps for any other subset; the rate is constant."""
    validation_samples: int
    """How many samples of the validation split, from its start, judge each checkpoint."""
    augment: bool = False
    """Whether training images are mirrored and shifted at random, in both phases."""

    def bank_phase(self, subset: str, optimizer: str | None = None, lr: float | None = None) -> Phase:
        """Return the bank's phase for a subset, with the caller's choices in place of the table's.

        Raises `UsageError` for an unknown optimiser or a rate that is not positive.
        """
        phase = self.whole if subset == "all" else self.part
        if optimizer == "sgd" and phase.optimizer != "sgd":
            phase = replace(phase, lr=phase.lr * SGD_FACTOR)
        phase = replace(phase, optimizer=phase.optimizer if optimizer is None else optimizer)
        return phase if lr is None else replace(phase, lr=lr)


SGD_FACTOR = 2
"""SGD's rate beside Adam's where only the optimiser is chosen: about the same spread of accuracy."""


def _adamw(lr: float, batch_size: int = 128, weight_decay: float = 0.0) -> Phase:
    return Phase("adamw", lr, batch_size, weight_decay)


_CONVNET = Recipe(40, _adamw(1e-2, weight_decay=1e-2), _adamw(2e-3), _adamw(3e-2), 4_000)
_MLP = Recipe(60, _adamw(2e-2, weight_decay=1e-3), _adamw(1e-2), _adamw(3e-2), 4_000)
_DIGITS = Recipe(30, _adamw(1e-2, 64, 1e-2), _adamw(2e-3, 64), _adamw(3e-2, 64), 200)
_RESNET18 = Recipe(
    10, _adamw(2e-3, weight_decay=5e-2), _adamw(1e-4), _adamw(3e-2), validation_samples=500, augment=True
)
_RECIPES = {
    ("mnist1d", "convnet"): _CONVNET,
    ("mnist1d", "mlp"): _MLP,
    ("mnist1d", "resnet"): replace(_CONVNET, epochs=15, whole=_adamw(1e-3)),
    ("digits", "convnet"): _DIGITS,
    ("digits", "mlp"): replace(_DIGITS, whole=_adamw(5e-3, 64)),
    ("fashion", "convnet"): replace(_CONVNET, epochs=10, whole=_adamw(1e-3), validation_samples=2_000),
    ("fashion", "resnet18"): _RESNET18,
}


def recipe_for(task_name: str, arch: str) -> Recipe:
    """Return the recipe of a built-in network, or that of a small convnet for any other."""
    return _RECIPES.get((task_name, arch), _CONVNET)
