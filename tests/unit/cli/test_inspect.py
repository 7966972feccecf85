"""`pdiff inspect` as it is typed: what it prints, its exit codes, and that it needs no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pdiff.checkpoints.inspection import Inspection, KindFacts, LeftAside, Range, TensorFacts
from pdiff.cli.console import Console
from pdiff.cli.inspect import show
from pdiff.common.sealing import write_sealed
from pdiff.common.wording import size_text
from tests import command


def pdiff(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command.pdiff(folder, "inspect", *arguments)


def test_the_default_folder_is_described(ckpts: Path) -> None:
    (ckpts / "optimizer.pt").write_bytes(b"x")
    (ckpts / "empty.pt").touch()
    result = pdiff(ckpts.parent)
    assert result.returncode == 0, result.stderr
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    size = sum(file.stat().st_size for file in ckpts.glob("*.safetensors"))
    assert lines[:5] == [
        f"12 checkpoints like step-0.safetensors (safetensors), {size_text(size)}",
        "  parameters  27 in 6 tensors, 1 number of other types",
        "  vary        4 of 6 tensors, 21 numbers (compared by samples and checksums; --deep compares all)",
        "  carried     bn.num_batches_tracked: varies but cannot be generated",
        "  accuracy    0.1 … 0.99 (in 12)",
    ]
    rows = [line.split() for line in lines]
    assert ["frozen.weight", "F32", "2×3", "6", "no"] in rows
    assert ["bn.num_batches_tracked", "I64", "scalar", "1", "yes"] in rows
    assert lines[-4:] == [
        "1 skipped:",
        "  optimizer.pt: not weights by its name",
        "1 refused:",
        "  empty.pt: empty",
    ]
    assert result.stderr.startswith("Reading headers: 12/12 checkpoints in ")


def test_a_whole_network_beside_its_parts_is_said_to_be_the_base(tmp_path: Path) -> None:
    """As the code of Neural Network Diffusion leaves them; `collect` takes it so."""
    (tmp_path / "checkpoint").mkdir()
    torch.save({"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(4)}, tmp_path / "pretrained.pth")
    for index in range(3):
        part = {"a": torch.full((2,), float(index)), "b": torch.ones(3)}
        torch.save(part, tmp_path / f"checkpoint/{index}.pth")
    line = (
        "pretrained.pth is the whole network, of which the others are parts: `pdiff collect` takes it as the "
        "base (another: --base; none: --majority)\n"
    )
    assert line in pdiff(tmp_path, ".").stdout
    assert json.loads(pdiff(tmp_path, ".", "--json").stdout)["base"] == "pretrained.pth"
    assert line not in pdiff(tmp_path, "checkpoint").stdout
    assert "is taken as the base" in command.pdiff(tmp_path, "collect", ".").stderr


def test_identical_files_are_said_to_be_refused(tmp_path: Path) -> None:
    for index in range(3):
        save_file({"w": torch.ones(3)}, tmp_path / f"{index}.safetensors")
    refused = (
        "  vary        0 of 1 tensor, 0 numbers (compared by samples and checksums; --deep compares all): "
    )
    said = pdiff(tmp_path, ".").stdout
    assert f"{refused}nothing to learn, so `pdiff collect` refuses them\n" in said
    assert command.pdiff(tmp_path, "collect", ".").returncode == 3


def test_what_only_a_sample_was_compared_of_is_not_said_to_be_the_same(tmp_path: Path) -> None:
    for index in range(2):
        large = torch.zeros(2**16)
        large[5000] = index  # in none of the places that are looked at
        save_file({"large": large, "small": torch.zeros(3)}, tmp_path / f"{index}.safetensors")
    rows = [line.split() for line in pdiff(tmp_path, ".").stdout.splitlines()]
    assert ["large", "F32", "65536", "65,536", "not", "seen"] in rows
    assert ["small", "F32", "3", "3", "no"] in rows
    (kind,) = json.loads(pdiff(tmp_path, ".", "--json").stdout)["kinds"]
    assert [(t["name"], t["varies"], t["sampled"]) for t in kind["tensors"]] == [
        ("large", False, True),
        ("small", False, False),
    ]
    rows = [line.split() for line in pdiff(tmp_path, ".", "--deep").stdout.splitlines()]
    assert ["large", "F32", "65536", "65,536", "yes"] in rows


def test_a_torch_archive_with_equal_checksums_is_known_to_be_the_same(tmp_path: Path) -> None:
    for index in range(2):
        torch.save({"large": torch.zeros(2**16), "w": torch.tensor([index])}, tmp_path / f"{index}.pt")
    assert "not seen" not in pdiff(tmp_path, ".").stdout


def test_json_is_alone_on_stdout_and_deep_compares_bytes(ckpts: Path) -> None:
    result = pdiff(ckpts.parent, "ckpts", "--json", "--deep")
    value = json.loads(result.stdout)
    assert (value["checkpoints"], value["kinds"][0]["compared"]) == (12, "bytes")
    assert value["kinds"][0]["metrics"] == {"accuracy": {"checkpoints": 12, "low": 0.1, "high": 0.99}}


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_nothing_readable_is_exit_code_3_with_the_reasons(tmp_path: Path, json_flag: list[str]) -> None:
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts" / "empty.pt").touch()
    result = pdiff(tmp_path, *json_flag)
    assert result.returncode == 3
    assert "pdiff: ckpts: no checkpoints that can be read (.safetensors, .pt" in result.stderr
    assert "empty.pt" in result.stdout
    assert pdiff(tmp_path, "nowhere").stderr == "pdiff: nowhere: no such file or folder\n"


@pytest.mark.parametrize("names", [[], ["notes.txt", "more.md"]])
def test_nothing_to_read_is_said_as_collect_says_it(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / "folder" / name).write_text("x")
    done = [command.pdiff(tmp_path, verb, "folder") for verb in ("inspect", "collect")]
    others = "; other files: more.md, notes.txt" if names else ""
    formats = ".safetensors, .pt, .pth, .bin, .ckpt"
    said = f"pdiff: folder: no checkpoints that can be read ({formats}){others}\n"
    assert [(each.returncode, each.stderr.splitlines()[-1] + "\n") for each in done] == [(3, said)] * 2


def test_torch_and_numpy_are_not_imported(ckpts: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['pdiff', 'inspect', *sys.argv[1:]]\n"
        "try: runpy.run_module('pdiff', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy imports'"
    )
    arguments = [sys.executable, "-c", code, str(ckpts)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("12 checkpoints")


def test_a_bank_is_described_by_its_manifest(tmp_path: Path) -> None:
    manifest = {
        "format": 1,
        "dim": 6,
        "layout": [{"name": "fc.weight", "dtype": "F32", "shape": [2, 3]}],
        "shards": [{}],
        "members": [{"metrics": {"accuracy": 0.5}}, {}, {}],
        "task": {"task": "digits", "arch": "mlp", "options": {}},
    }
    (tmp_path / "bank").mkdir()
    write_sealed(tmp_path / "bank" / "bank.json", manifest)
    result = pdiff(tmp_path, "bank")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "bank: a bank of 3 checkpoints × 6 numbers"
    assert "  task      digits, mlp" in lines
    assert "  accuracy  0.5 (in 1)" in lines


def test_long_tables_show_what_varies_first_unless_all_is_wanted(tmp_path: Path) -> None:
    for index in range(2):
        state = {f"layer.{i}": torch.full((2,), float(index if i == 39 else 0)) for i in range(40)}
        save_file(state, tmp_path / f"{index}.safetensors")
    rows = [line.split() for line in pdiff(tmp_path, ".").stdout.splitlines() if "layer." in line]
    assert [row[0] for row in rows] == ["layer.39", *(f"layer.{i}" for i in range(29))]
    short, full = pdiff(tmp_path, "."), pdiff(tmp_path, ".", "--all")
    assert "… and 10 more (--all)" in short.stdout
    assert full.stdout.count("layer.") == 40


def facts(**changes: object) -> KindFacts:
    values: dict[str, object] = {
        "checkpoints": 300,
        "bytes": 45_000_000,
        "example": "e0.pth",
        "difference": None,
        "format": "torch",
        "shape": "file",
        "files": 1,
        "parameters": 1_234_567,
        "numbers": 1_234_567,
        "varying": 10,
        "compared": "samples",
        "keys": {"state_dict": 298, "": 2},
        "together": [],
        "passed_over": [],
        "averaged": 100,
        "dictionaries": [],
        "prefixes": {"module.": 122},
        "left_out": ["a._extra_state", "b._extra_state", "c", "d"],
        "adapter": {"r": 8},
        "metrics": {"epoch": Range(300, 0.0, 299.0), "evil\x1b[2J\n": Range(1, 1.0, 1.0)},
        "tensors": [TensorFacts("head", "F32", (2,), 2, True, "embed")],
    }
    return KindFacts(**(values | changes))  # type: ignore[arg-type]


def test_everything_known_of_a_kind_is_said_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(Console(), Inspection(300, [facts()], [], [], []), everything=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:10] == [
        "300 checkpoints like e0.pth (torch), 45 MB",
        "  parameters  1,234,567 in 1 tensor",
        "  vary        1 of 1 tensor, 10 numbers (compared by samples and checksums; --deep compares all)",
        "  weights     under `state_dict` in 298, at the top in 2",
        "  averaged    100 of 300; choose with --ema, --no-ema or --key",
        "  removed     module. before 122 names",
        "  left out    a._extra_state, b._extra_state, c and 1 more",
        "  adapter     r 8",
        "  epoch       0 … 299 (in 300)",
        "  evil�[2J�   1 (in 1)",
    ]
    assert " head = embed    F32      2        2     yes" in lines


def test_only_of_the_largest_kind_the_tensors_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [facts(), *[facts(example="odd.pth", difference="lacks fc.bias")] * 11]
    show(Console(), Inspection(311, kinds, [], [], []), everything=False)
    printed = capsys.readouterr().out
    assert "kind 2 of 12: 300 checkpoints like odd.pth" in printed
    assert "  differs     odd.pth lacks fc.bias\n" in printed
    assert printed.endswith("… and 2 kinds more (--all)\n")
    assert printed.count("head = embed") == 1
    show(Console(), Inspection(311, kinds, [], [], []), everything=True)
    assert capsys.readouterr().out.count("head = embed") == 12


def test_many_files_left_aside_are_a_line_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [LeftAside(f"{i}.txt", "not weights by its name") for i in range(1200)]
    skipped += [LeftAside("b.pt", "hidden"), *(LeftAside(f"{i}", f"reason {i}") for i in range(14))]
    show(Console(), Inspection(0, [], [], skipped, []), everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "1,215 skipped:",
        "  1,200 × not weights by its name: 0.txt, 1.txt, 2.txt and 1,197 more",
        "  1 × hidden: b.pt",
    ]
    assert lines[-1] == "  … and 6 more reasons (--all)"
    show(Console(), Inspection(0, [], [], skipped, []), everything=True)
    assert len(capsys.readouterr().out.splitlines()) == 1216
