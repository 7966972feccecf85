"""Which code a task reaches: also what is imported when it runs, and what cannot be told."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pdiff.evaluation.fingerprint import task_digest
from pdiff.evaluation.sources import Opaque, reached

TASK = "class Task:\n    def correct(self):\n        {statement}\n"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write files `{name: text}` where modules are found, and import one of them: `written(files, name)`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(files: dict[str, str], name: str = "") -> Any:
        for place, text in files.items():
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name) if name else None

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "statement",
    [
        "import late_part",
        "import pack_of_task.late",
        "from pack_of_task import late",
        "from pack_of_task.late import K",
        "from pack_of_task.late import *",
        "from importlib import import_module; import_module('pack_of_task.late')",
        "import late_link",
    ],
)
def test_code_that_a_function_imports_is_part_of_the_task(written: Any, statement: str) -> None:
    head = "import late_part as p\n" if "*" in statement else ""
    text = TASK.format(statement="import late_part" if head else statement)
    text = (statement + "\n" + text) if head else text
    files = {"pack_of_task/__init__.py": "", "pack_of_task/late.py": "K = 1\n", "late_part.py": "K = 1\n"}
    files["late_link.py"] = "def f():\n    from pack_of_task.late import K\n"
    module = written(files | {"task_of_test.py": text}, "task_of_test")
    before = task_digest(module.Task())
    assert task_digest(module.Task()) == before
    written({"pack_of_task/late.py": "K = 2\n", "late_part.py": "K = 2\n"})
    assert task_digest(module.Task()) != before
    if not head:
        assert not {"late_part", "pack_of_task.late"} & set(sys.modules), "nothing is imported"


def test_imports_relative_to_a_package(written: Any) -> None:
    files = {
        "pack_of_task/__init__.py": "",
        "pack_of_task/deep/__init__.py": TASK.format(statement="from . import near; from ..far import K"),
        "pack_of_task/deep/near.py": "",
        "pack_of_task/far.py": "",
    }
    module = written(files, "pack_of_task.deep")
    own = {name for name, source in reached([module]).items() if source.own}
    assert own == {"pack_of_task", "pack_of_task.deep", "pack_of_task.deep.near", "pack_of_task.far"}


def test_a_module_that_appears_is_a_change(written: Any) -> None:
    task = {"task_of_test.py": TASK.format(statement="import appears_later")}
    module = written(task, "task_of_test")
    before = task_digest(module.Task())
    written({"appears_later.py": ""})
    assert task_digest(module.Task()) != before


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("exec('K = 1')", "exec"),
        ("import builtins; builtins.exec('K = 1')", "exec"),
        ("__import__('late_part')", "__import__"),
        ("import importlib; importlib.import_module('late' + '_part')", "import_module"),
        ("from importlib import import_module as i; i('late_part')", "import_module"),
        ("import importlib; getattr(importlib, 'import_module')('late_part')", "import_module"),
        ("import runpy; runpy.run_path('late_part.py')", "run_path"),
        ("from runpy import run_path as r; r('late_part.py')", "run_path"),
        (
            "import importlib.util as u; u.spec_from_file_location('late', 'late.py')",
            "spec_from_file_location",
        ),
        ("from importlib.machinery import SourceFileLoader as L; L('late', 'late.py')", "SourceFileLoader"),
        ("spec.loader.exec_module(module)", "exec_module"),
    ],
)
def test_code_that_only_running_it_tells_is_not_kept(written: Any, statement: str, said: str) -> None:
    module = written({"task_of_test.py": TASK.format(statement=statement)}, "task_of_test")
    with pytest.raises(Opaque, match=f"that uses {said}"):
        task_digest(module.Task())


def test_a_network_may_be_put_in_evaluation_mode(written: Any) -> None:
    module = written({"task_of_test.py": TASK.format(statement="self.network.eval()")}, "task_of_test")
    assert task_digest(module.Task())


def test_code_that_is_in_no_file_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("typed_at_a_prompt")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(TASK.format(statement="return 1"), vars(module))
    with pytest.raises(Opaque, match="typed_at_a_prompt, which is in no file"):
        task_digest(module.Task())


@pytest.mark.parametrize(
    "held",
    [
        "v",
        "{'k': v}",
        "SimpleNamespace(k=v)",
        "partial(max, v)",
        "np.float32(v)",
        "Own(v)",
        "Data(v)",
        "lambda: v",
        "(lambda: (lambda k=v: k))()",
    ],
)
def test_values_that_a_module_made_of_a_file_are_part_of_the_task(
    written: Any, tmp_path: Path, held: str
) -> None:
    head = (
        "import json, numpy as np\nfrom dataclasses import dataclass\nfrom functools import partial\n"
        "from pathlib import Path\nfrom types import SimpleNamespace\n@dataclass\nclass Data:\n    k: int\n"
        "class Own:\n    def __init__(self, k): self.k = k\n"
    )
    text = f"HELD = (lambda v: {held})(json.loads(Path({str(tmp_path / 'v.json')!r}).read_text()))\n"
    files = {"task_of_test.py": head + text + TASK.format(statement="return HELD")}

    def digest(value: int) -> str:
        sys.modules.pop("task_of_test", None)
        module = written({**files, "v.json": str(value)}, "task_of_test")
        return task_digest(module.Task())

    assert digest(1) == digest(1) != digest(2)


def test_a_logger_changes_nothing(written: Any) -> None:
    text = "import logging\nlog = logging.getLogger('of a task')\n"
    module = written({"task_of_test.py": text + TASK.format(statement="log.info('')")}, "task_of_test")
    task = module.Task()
    task.log = module.log
    before = task_digest(task)
    module.log.setLevel("DEBUG")
    assert task_digest(task) == before
