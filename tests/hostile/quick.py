"""`python -m tests.hostile.quick …`: pdiff, but an evaluation leaves out what takes longer than it does."""

import sys
from functools import partial
from unittest.mock import patch

import pdiff.evaluation.evaluate
import pdiff.report
from pdiff import cli

REPLICATES = 40


def quick() -> None:
    """Leave out the content of the page and most of the bootstrap, of whatever this process evaluates."""
    evaluate = pdiff.evaluation.evaluate.evaluate
    patch.object(pdiff.evaluation.evaluate, "evaluate", partial(evaluate, replicates=REPLICATES)).start()
    patch.object(pdiff.report.page, "render_report", lambda _: "").start()


if __name__ == "__main__":
    quick()
    try:
        cli.main()
    finally:
        assert "torch._dynamo" not in sys.modules, "imports that take seconds"
