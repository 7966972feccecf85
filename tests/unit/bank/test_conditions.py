"""What is known of checkpoints: tables of it, and the vectors that generators condition on."""

import json
from pathlib import Path

import pytest
import torch

from pdiff.bank import collect
from pdiff.bank.conditions import Encoder, far_outside
from pdiff.bank.manifest import Member
from pdiff.bank.tables import read_rows, read_table
from pdiff.common.errors import InputError, UsageError
from tests.support import MEMBERS, Said


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_table_is_csv_or_json_lines(tmp_path: Path) -> None:
    csv = table(tmp_path, "file,accuracy,task\nstep-0,0.5,cats\nstep-1.pth,1e-1,dogs\n")
    expected = {"step-0": {"accuracy": 0.5, "task": "cats"}, "step-1.pth": {"accuracy": 0.1, "task": "dogs"}}
    assert read_table(csv) == expected
    lines = "".join(json.dumps({"file": name, **row}) + "\n" for name, row in expected.items())
    assert read_table(table(tmp_path, lines, "t.jsonl")) == expected
    (row,) = read_rows(table(tmp_path, '{"bits": [1, 0, 1], "on": true}\n\n', "u.jsonl"))
    assert row == {"bits": [1.0, 0.0, 1.0], "on": 1.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "name,a\nx,1\n", "row 1: no column 'file'"),
        ("t.csv", "file,a\nx,1\nx,2\n", "x stands there twice"),
        ("t.csv", "file,a\nx,\n", "'a' is missing or not finite"),
        ("t.csv", "file,a\nx,nan\n", "'a' is missing or not finite"),
        ("t.csv", "file,a\nx,1,2\n", "value without a column"),
        ("t.csv", "file,a\nx\n", "'a' is a NoneType"),
        ("t.csv", "file,a,b, a\nx,1,2,3\n", "header: the column a is there twice; accepted: each once"),
        (
            "t.csv",
            "file;a\nx;0,5\n",
            "columns of file;a are separated by semicolons; accepted: commas, or JSON",
        ),
        ("t.csv", "file\ta\nx\t1\n", "are separated by tabs; accepted: commas"),
        ("t.csv", "file|a\nx|1\n", "are separated by bars; accepted: commas"),
        ("t.jsonl", '{"file": "x", "a": 1, "a": 2}\n', "line 1: the column a is there twice"),
        ("t.jsonl", "[1]\n", "line 1: an object is wanted"),
        ("t.jsonl", "{\n", "line 1: no JSON"),
        ("t.jsonl", '{"file": "x", "a": {"b": 1}}\n', "'a' is a dict; accepted: numbers, text"),
        ("t.jsonl", '{"file": "x", "a": [1, Infinity]}\n', "'a' is missing or not finite"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(table(tmp_path, text, name))
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "none.csv")


def test_a_bank_keeps_what_a_table_says_of_its_members(ckpts: Path, tmp_path: Path) -> None:
    """Checkpoints are named by path, name or stem; rows of none are passed over."""
    names = [f"step-{index}" if index % 2 else f"step-{index}.safetensors" for index in range(MEMBERS)]
    rows = [f"{name},{index / 10},{'ab'[index % 2]}" for index, name in enumerate(names)]
    whole = table(tmp_path, "\n".join(["file,x,kind", *rows, "other,1,b"]))
    bank = collect(ckpts, out=tmp_path / "bank", conditions=whole)
    assert [member.conditions["kind"] for member in bank.members] == list("ab" * (MEMBERS // 2))
    without = table(tmp_path, "\n".join(["file,x", *(r.rpartition(",")[0] for r in rows[:-2])]), "less.csv")
    with pytest.raises(InputError, match=r"no row for 2 checkpoints: step-10.safetensors"):
        collect(ckpts, out=tmp_path / "less", conditions=without)
    assert not (tmp_path / "less").exists()


def members(*rows: dict[str, float | str | list[float]]) -> list[Member]:
    return [Member(str(index), "", {"accuracy": 0.5 + index}, row) for index, row in enumerate(rows)]


def test_numbers_are_standardised_and_texts_are_ones_and_zeros() -> None:
    known = members({"x": 1.0, "t": "b"}, {"x": 3.0, "t": "a"})
    encoder = Encoder.of(known, ["x", "t"])
    assert encoder.of_members(known).tolist() == [[-1, 0, 1], [1, 1, 0]]
    assert encoder.encode({"x": 2.0, "t": "a"}).tolist() == [0, 1, 0]
    lists = members({"v": [0.0, 5.0]}, {"v": [2.0, 5.0]})
    assert Encoder.of(lists, ["v"]).of_members(lists).tolist() == [[-1, 0], [1, 0]]
    assert Encoder.of(known, ["accuracy"]).of_members(known).tolist() == [[-1], [1]]


def test_a_table_wins_over_the_checkpoints_own_metadata() -> None:
    known = members({"accuracy": 0.0}, {"accuracy": 1.0})
    assert Encoder.of(known, ["accuracy"]).encode({"accuracy": 0.5}).tolist() == [0]


def test_conditions_that_do_not_suit_are_named() -> None:
    known = members({"x": 1.0, "t": "b", "v": [1.0]}, {"x": 3.0, "t": "a", "v": [2.0]})
    with pytest.raises(UsageError, match="unknown condition 'y'"):
        Encoder.of(known, ["y"])
    with pytest.raises(UsageError, match="condition 'v' has several forms"):
        Encoder.of(members({"v": [1.0]}, {"v": 1.0}), ["v"])
    encoder = Encoder.of(known, ["x", "t"])
    for row, message in (
        ({"x": 1.0}, "condition 't' is missing"),
        ({"x": "high", "t": "a"}, "condition 'x' is 'high'; a number is wanted"),
        ({"x": 1.0, "t": "c"}, "unknown value of t 'c'"),
        ({"x": [1.0, 2.0], "t": "a"}, "numbers of x"),
    ):
        with pytest.raises(UsageError, match=message):
            encoder.encode(row)
    assert torch.equal(encoder.encode({"x": 3, "t": "a"}), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("rows", "what"),
    [([{}, {}], "no conditions"), ([{"x": 1.0}, {"y": 1.0}], "no condition that all its checkpoints have")],
)
def test_a_bank_without_conditions_says_how_to_add_them(rows: list[dict[str, float]], what: str) -> None:
    known = [Member(str(index), "", {}, dict(row)) for index, row in enumerate(rows)]
    with pytest.raises(UsageError) as refusal:
        Encoder.of(known, ["x"])
    assert str(refusal.value) == f"the bank has {what}; `pdiff collect --conditions TABLE` adds them"


def test_an_extension_says_the_conditions_of_what_is_new(ckpts: Path, tmp_path: Path) -> None:
    rows = [f"step-{index},{index}" for index in range(MEMBERS)]
    (tmp_path / "more").mkdir()
    (ckpts / "step-11.safetensors").rename(tmp_path / "more" / "step-11.safetensors")
    first = table(tmp_path, "\n".join(["file,x", *rows[:11]]), "first.csv")
    collect(ckpts, out=tmp_path / "bank", conditions=first)
    with pytest.raises(InputError, match="say those of the new checkpoints with --conditions"):
        collect(tmp_path / "more", out=tmp_path / "bank", extend=True)
    whole = table(tmp_path, "\n".join(["file,x", *rows]), "whole.csv")
    bank = collect(tmp_path / "more", out=tmp_path / "bank", extend=True, conditions=whole)
    assert [member.conditions["x"] for member in bank.members] == [*range(10), 10, 11]


def test_conditions_can_be_given_to_a_bank_that_has_none(ckpts: Path, tmp_path: Path) -> None:
    collect(ckpts, out=tmp_path / "bank")
    rows = [f"step-{index},{index}" for index in range(MEMBERS)]
    whole = table(tmp_path, "\n".join(["file,x", *rows]))
    bank = collect(ckpts, out=tmp_path / "bank", extend=True, conditions=whole)
    assert sorted(float(member.conditions["x"]) for member in bank.members) == list(range(MEMBERS))  # type: ignore[arg-type]


def test_spaces_numbers_as_text_and_lists_are_understood(tmp_path: Path) -> None:
    csv = table(tmp_path, 'file , x, v\n a , 1 ,"[1, 2]"\n')
    assert read_table(csv) == {"a": {"x": 1.0, "v": [1.0, 2.0]}}
    known = members({"t": "0.7"}, {"t": "high"})
    assert Encoder.of(known, ["t"]).encode({"t": 0.7}).tolist() == [1, 0]
    for text in ('{"file": "a", "x": 1' + "0" * 400 + "}", '{"file": "a", "x": []}'):
        with pytest.raises(InputError, match="'x' is missing or not finite"):
            read_table(table(tmp_path, text, "bad.jsonl"))


def test_members_of_one_name_that_share_a_row_are_named(tmp_path: Path) -> None:
    for run in "ab":
        for step in range(2):
            path = tmp_path / f"ckpts/{run}/step-{step}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"w": torch.full((3,), 10.0 * ord(run) + step)}, path)
    short = table(tmp_path, "file,x\nstep-0,1\nstep-1,2\n")
    said = Said()
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank", conditions=short, progress=said)
    assert [member.conditions["x"] for member in bank.members] == [1, 2, 1, 2]
    (note,) = (line for line in said if "table of conditions" in line)
    assert note == (
        "2 rows of the table of conditions are for several checkpoints each, like step-0 for a/step-0.pt, "
        "b/step-0.pt; name them by their paths if they differ"
    )
    paths = table(tmp_path, "file,x\na/step-0.pt,1\na/step-1.pt,2\nb/step-0.pt,3\nb/step-1.pt,4\n", "all.csv")
    said = Said()
    collect(tmp_path / "ckpts", out=tmp_path / "all", conditions=paths, progress=said)
    assert not [line for line in said if "table of conditions" in line]


def test_values_far_outside_what_members_have_are_named() -> None:
    known = members({"x": 1.0, "t": "b", "v": [0.0, 5.0]}, {"x": 3.0, "t": "a", "v": [2.0, 5.0]})

    def told(*asked: dict[str, float | str | list[float]]) -> list[str]:
        names = list(asked[0])
        return list(far_outside(known, names, asked))

    assert (
        told({"x": 3.9, "t": "a", "v": [3.0, 5.0], "accuracy": 0.5}, {**known[0].conditions, "accuracy": 2})
        == []
    )
    assert told({"x": 5.0}, {"x": 2.0}) == [
        "condition x = 5: far outside what the bank has seen, 1 to 3; such a model is extrapolated"
    ]
    assert told({"x": -1.0}, {"x": 9.0}, {"x": 9.0}) == [
        "condition x = -1, 9: far outside what the bank has seen, 1 to 3; such models are extrapolated"
    ]
    assert told({"v": [1.0, 6.0]}) == [
        "condition v, number 2 = 6: far outside what the bank has seen, 5 to 5; such a model is extrapolated"
    ]
