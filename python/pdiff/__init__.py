"""pdiff: learn from a folder of checkpoints, generate new parameters of the same network, judge them.

    bank = pdiff.collect("ckpts", out="bank")
    run = pdiff.train(bank, out="run", config=pdiff.Config.preset("default"))
    models = pdiff.generate(run, n=50, seed=0)
    results = pdiff.evaluate(models)
    pdiff.save_report(results, "evaluation")

Everything is imported on first use: `import pdiff` alone does not import torch. Functions that take long show
their progress on a terminal and in a notebook; `progress=True` or `False` decides otherwise.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pdiff._core import __version__
from pdiff.common.errors import InputError, PdiffError, PreemptedError, UsageError, missing

if TYPE_CHECKING:
    from pdiff.alignment.align import align
    from pdiff.bank import Bank, collect
    from pdiff.common.config import Config
    from pdiff.evaluation.evaluate import evaluate
    from pdiff.generation.averaging import average
    from pdiff.generation.extract import export
    from pdiff.generation.generated import Generated
    from pdiff.generation.sample import generate
    from pdiff.generators.train import load_generator, train
    from pdiff.report import make_report, save_report
    from pdiff.tasks import load_task
    from pdiff.training import Run
    from pdiff.verification import verify
    from pdiff.zoo import build_zoo

__all__ = [
    "Bank",
    "Config",
    "Generated",
    "InputError",
    "PdiffError",
    "PreemptedError",
    "Run",
    "UsageError",
    "__version__",
    "align",
    "average",
    "build_zoo",
    "collect",
    "evaluate",
    "export",
    "generate",
    "load_generator",
    "load_task",
    "make_report",
    "save_report",
    "train",
    "verify",
]

_MODULES = {
    "alignment.align": ("align",),
    "bank": ("Bank", "collect"),
    "common.config": ("Config",),
    "evaluation.evaluate": ("evaluate",),
    "generation.generated": ("Generated",),
    "generation.sample": ("generate",),
    "generation.averaging": ("average",),
    "generation.extract": ("export",),
    "generators.train": ("load_generator", "train"),
    "report": ("make_report", "save_report"),
    "tasks": ("load_task",),
    "training": ("Run",),
    "verification": ("verify",),
    "zoo": ("build_zoo",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pdiff' has no attribute {name!r}")
    try:
        return getattr(import_module(f"pdiff.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise missing(error, f"pdiff.{name}") or error from None


def __dir__() -> list[str]:
    return __all__
