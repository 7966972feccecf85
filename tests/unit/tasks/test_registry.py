import sys

import pytest
import torch

from pdiff.common.errors import UsageError
from pdiff.tasks import BUILT_IN, Task, load_task

OWN_TASK = """
from dataclasses import dataclass
import torch
from pdiff.tasks import Classification

@dataclass
class Own(Classification):
    classes: "int" = 2
    name = "own"
    architectures = ("linear",)
    def build(self, arch):
        return torch.nn.Linear(4, self.classes)
    def data(self, split):
        return torch.zeros(5, 4), torch.zeros(5, dtype=torch.long)

def factory(classes: int = 2):
    return Own(classes)

def needs(size):
    return Own(size)

def anything(**options):
    return Own(**options)

def wrong():
    return object()

number = 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own_task.py"
    path.write_text(OWN_TASK)
    return str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_tasks_load_and_are_tasks(name):
    task = load_task(name)
    assert isinstance(task, Task)
    assert task.name == name


def test_classification_judges_logits():
    task = load_task("digits")
    logits, targets = torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0])
    assert task.error(logits, targets).tolist() == [False, True]
    torch.testing.assert_close(task.probabilities(logits), logits.softmax(1))
    expected = torch.log1p(torch.exp(torch.tensor([-2.0, 2.0]))).mean()
    torch.testing.assert_close(task.loss(logits, targets), expected)


def test_own_file_and_its_options(own):
    assert load_task(f"{own}:factory", classes=3).build("linear").out_features == 3
    assert load_task(f"{own}:anything", classes=4).build("linear").out_features == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist-1d", {}, "unknown task 'mnist-1d'; did you mean 'mnist1d'"),
        ("zzz", {}, "svhn, or your own as file.py:NAME"),
        ("fashion", {"data_rot": "x"}, "did you mean 'data_root'"),
        ("mnist1d", {"data_root": "x"}, "unknown option of task mnist1d 'data_root'; accepted: none"),
        ("nowhere.py:factory", {}, "nowhere.py: no such file"),
    ],
)
def test_wrong_names_and_options(name, options, message):
    with pytest.raises(UsageError, match=message):
        load_task(name, **options)


@pytest.mark.parametrize(
    ("suffix", "options", "message"),
    [
        ("", {}, "name the task in it, as in .*own_task.py:Mine"),
        (":", {}, "name the task in it"),
        (":missing", {}, "has no task 'missing'"),
        (":number", {}, "has no task 'number'"),
        (":factory", {"clases": 3}, "did you mean 'classes'"),
        (":needs", {}, "needs the option 'size'"),
        (":wrong", {}, "returned a object, not a Task .a subclass of pdiff.tasks.Task"),
    ],
)
def test_wrong_own_tasks(own, suffix, options, message):
    with pytest.raises(UsageError, match=message):
        load_task(own + suffix, **options)


def test_a_file_that_fails_to_import_says_why(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import no_such_module_anywhere")
    with pytest.raises(
        UsageError, match=r"broken\.py: cannot be imported: ModuleNotFoundError: .*broken.py:1\)"
    ):
        load_task(f"{path}:factory")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\n\nundefined_name\n",
            r"NameError: name 'undefined_name' is not defined \(.*helper_of_task.py:3\)",
        ),
        ("x = 1\nimport nowhere_at_all", r"No module named 'nowhere_at_all' \(.*helper_of_task.py:2\)"),
        ("x = 1\ndef (", r"SyntaxError: [^()]* \([^()]*helper_of_task.py:2\)"),
    ],
)
def test_a_module_that_the_task_imports_is_named_with_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "helper_of_task.py").write_text(text)
    (tmp_path / "own_task.py").write_text("import helper_of_task\n" + OWN_TASK)
    with pytest.raises(UsageError, match=message) as refused:
        load_task(f"{tmp_path}/own_task.py:factory")
    assert "\n" not in str(refused.value)


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sizes_of_own_task.py").write_text("CLASSES = 7\n")
    late = "    import sizes_of_own_task\n    return Own(sizes_of_own_task.CLASSES)\n"
    (tmp_path / "own_task.py").write_text(OWN_TASK + "\ndef late():\n" + late)
    assert load_task(f"{tmp_path}/own_task.py:late").classes == 7
    del sys.modules["sizes_of_own_task"]
