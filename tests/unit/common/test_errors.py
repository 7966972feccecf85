"""Errors name options as they are typed, and in a note the arguments of Python that stand for them."""

import inspect
import pickle
import traceback
from pathlib import Path

import pytest

import pdiff
from pdiff.bank import Bank, collect
from pdiff.common.errors import _ARGUMENTS, InputError, UsageError, noted


def test_a_traceback_says_what_options_are_called_in_python(bank: Bank, ckpts: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        collect(ckpts, out=bank.path)
    lines = traceback.format_exception_only(refusal.value)
    assert lines[-2].endswith("not empty; replace it with --overwrite, or name another with --out\n")
    assert lines[-1] == "In Python: overwrite=True, out=…\n"
    assert str(refusal.value).count("\n") == 0, "the command line prints the message alone"


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ("use --resume or --overwrite", ["In Python: resume=True, overwrite=True"]),
        ("--data-access: not --data-access, but --majority", ["In Python: data_access=…, majority=True"]),
        ("a plain message -- without options", []),
        ("--unheard-of", []),
    ],
)
def test_each_option_is_noted_once(message: str, note: list[str]) -> None:
    copied = pickle.loads(pickle.dumps(UsageError(message)))
    for error in (UsageError(message), copied, noted(InputError(message))):
        assert getattr(error, "__notes__", []) == note
        assert str(error) == message


def test_the_arguments_are_those_of_functions() -> None:
    functions = [each for name in pdiff.__all__ if inspect.isfunction(each := getattr(pdiff, name))]
    known = {name for each in functions for name in inspect.signature(each).parameters}
    from pdiff.evaluation.evaluate import Options

    assert set(_ARGUMENTS) - known - set(Options.__struct_fields__) == set()
