"""Files and folders that are not what they should be: each is named with its cause, the others go on."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pdiff import _core
from pdiff.bank import Bank, collect
from pdiff.checkpoints import Choice, find_checkpoints, open_checkpoints
from pdiff.common.errors import InputError
from tests.hostile.notes import Notes
from tests.support import checkpoint

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
GOOD = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four good checkpoints."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(GOOD):
        save_file(checkpoint(index), folder / f"step-{index}.safetensors")
    return folder


def refused(folder: Path) -> dict[str, str]:
    """Return what is refused below `folder`, and why, in one line each."""
    found = find_checkpoints([folder])
    opened = open_checkpoints(found, Choice())
    notes = dict([*found.refused, *opened.refused])
    assert all("\n" not in why for why in notes.values())
    return notes


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # relative, since such names must be short


def truncated(path: Path, size: float) -> None:
    data = (path.parent / "step-0.safetensors").read_bytes()
    path.write_bytes(data[: int(size * len(data))])


def torch_truncated(path: Path) -> None:
    torch.save(checkpoint(0), path)
    path.write_bytes(path.read_bytes()[:-100])


NOT_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "LFS pointer": (lambda p: p.write_bytes(LFS), "a git-LFS pointer, not the file itself"),
    "HTML page": (lambda p: p.write_bytes(b"<!DOCTYPE html>\n<html>404"), "an HTML or XML page"),
    "JSON": (lambda p: p.write_bytes(b'{"error": "not found", "code": 404}'), "not a safetensors"),
    "text": (lambda p: p.write_bytes(b"weights? what weights?"), "not a safetensors or torch file"),
    "one byte": (lambda p: p.write_bytes(b"x"), "not a safetensors or torch file"),
    "NumPy": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00"), "a NumPy file"),
    "HDF5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40)), "an HDF5 file"),
    "GGUF": (lambda p: p.write_bytes(b"GGUF" + bytes(40)), "a GGUF file"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(40)), "a gzip file (unpack it)"),
    "zeros": (lambda p: p.write_bytes(bytes(1000)), "begins with zeros"),
    "empty": (lambda p: p.touch(), "empty"),
    "half": (lambda p: truncated(p, 0.5), "safetensors"),
    "almost all": (lambda p: truncated(p, 0.99), "truncated: the tensors end at byte"),
    "torch, almost all": (torch_truncated, "truncated zip archive"),
    "a directory": (lambda p: p.mkdir(), "a folder, not a file"),
    "a FIFO": (os.mkfifo, "a FIFO, not a file"),
    "a socket": (bound, "a socket, not a file"),
    "a link to nothing": (lambda p: p.symlink_to("nowhere.pt"), "a link to nothing"),
    "a link to itself": (lambda p: p.symlink_to(p.name), ""),
    "a device": (lambda p: p.symlink_to("/dev/zero"), "a device, not a file"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(("make", "why"), NOT_WEIGHTS.values(), ids=NOT_WEIGHTS)
def test_what_is_not_weights_is_refused_by_name_and_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], why: str, suffix: str
) -> None:
    monkeypatch.chdir(folder)
    name = f"bad.{suffix}"
    make(folder / name)
    begin = time.monotonic()
    notes = refused(folder)
    assert notes.keys() == {name}
    assert why in notes[name]
    assert time.monotonic() - begin < 5
    said = Notes()
    bank = collect(folder, out=folder.parent / "bank", progress=said)
    assert [member.source for member in bank.members] == [f"step-{n}.safetensors" for n in range(GOOD)]
    assert said.said(name, why)
    with pytest.raises(InputError, match=f"bad.{suffix}"):
        collect(folder, out=folder.parent / "strict", strict=True)
    assert not (folder.parent / "strict").exists()


def test_an_unreadable_file_is_refused_by_name(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read everything")
    (folder / "step-0.safetensors").chmod(0)
    assert refused(folder) == {"step-0.safetensors": "permission denied"}


def test_files_that_are_no_weights_by_name_are_skipped_and_listed(folder: Path) -> None:
    names = [
        "optimizer.pt", "optimizer.bin", "scheduler.pt", "training_args.bin", "rng_state.pth",
        "random_states_0.pkl", "model.safetensors.tmp", "model.tmp.pt", "trainer_state.json", "log.txt",
    ]  # fmt: skip
    for name in names:
        (folder / name).write_bytes(b"cos\nsystem\n.")
    found = find_checkpoints([folder])
    assert len(found.candidates) == GOOD
    assert {name for name, _ in found.skipped} == set(names)
    assert found.refused == ()


def test_links_and_copies_are_one_member(folder: Path) -> None:
    first = folder / "step-0.safetensors"
    (folder / "hard.safetensors").hardlink_to(first)
    (folder / "latest.safetensors").symlink_to(first.name)
    (folder / "far.safetensors").symlink_to(first)
    shutil.copy(first, folder / "copy.safetensors")
    skipped = {name for name, _ in find_checkpoints([folder]).skipped}
    assert skipped >= {"latest.safetensors", "far.safetensors"}
    assert len(skipped) == 3
    said = Notes()
    bank = collect(folder, out=folder.parent / "bank", progress=said)
    assert len(bank) == GOOD
    assert len({member.digest for member in bank.members}) == GOOD
    assert said.said("identical checkpoints count once")


def test_other_shapes_and_keys_are_never_mixed_silently(folder: Path) -> None:
    save_file(checkpoint(0) | {"layer.weight": torch.ones(3, 5)}, folder / "other.safetensors")
    with pytest.raises(InputError, match=r"2 kinds .* 4 like step-0.*other\.safetensors holds layer"):
        collect(folder, out=folder.parent / "bank")
    said = Notes()
    assert len(collect(folder, out=folder.parent / "bank", majority=True, progress=said)) == GOOD
    assert said.said("the largest group is taken")
    fewer = {name: tensor for name, tensor in checkpoint(0).items() if name != "layer.bias"}
    save_file(fewer, folder / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors lacks layer\.bias"):
        collect(folder, out=folder.parent / "other")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_checkpoints_are_too_few(folder: Path, count: int) -> None:
    for index in range(count, GOOD):
        (folder / f"step-{index}.safetensors").unlink()
    found = "1 checkpoint" if count == 1 else f"{count} checkpoints"
    why = f"{found} found, at least 3 are needed" if count else "no checkpoints"
    with pytest.raises(InputError, match=why):
        collect(folder, out=folder.parent / "bank")
    assert not (folder.parent / "bank").exists()


def test_names_are_in_the_order_that_people_count(folder: Path) -> None:
    for step in (1, 2, 9, 10, 11, 100):
        (folder / f"checkpoint-{step}").mkdir()
        save_file(checkpoint(step), folder / f"checkpoint-{step}" / "model.safetensors")
    sources = [candidate.source for candidate in find_checkpoints([folder]).candidates]
    assert [s.split("/")[0] for s in sources if "/" in s] == [
        f"checkpoint-{n}" for n in (1, 2, 9, 10, 11, 100)
    ]


ODD_NAMES = [
    name + b".safetensors"
    for name in (b"a b", b"\xff\xfe", b"a\nb", "\N{SNOWMAN}".encode(), b"-rf", b"$(x) `y`", b".", b"[bold]x")
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_odd_file_names_work(folder: Path, name: bytes) -> None:
    path = folder / os.fsdecode(name)
    hidden = name.startswith(b".")
    save_file(checkpoint(50), path)
    bank = collect(folder, out=folder.parent / "bank")
    assert len(bank) == GOOD + (not hidden)
    assert all(member.source.isprintable() for member in bank.members)
    again = Bank.open(folder.parent / "bank")
    assert [m.source for m in again.members] == [m.source for m in bank.members]
    path.write_bytes(b"")
    notes = refused(folder)
    assert len(notes) == (not hidden)


@pytest.mark.parametrize("change", ["append", "rewrite", "replace", "remove", "truncate"])
def test_a_source_that_changes_while_it_is_read_is_refused(folder: Path, change: str) -> None:
    path = folder / "step-2.safetensors"
    origins = [_core.Checkpoint([folder / f"step-{n}.safetensors"]).origin for n in range(GOOD)]
    before = path.stat()
    data = path.read_bytes()
    if change == "append":
        path.write_bytes(data + b"x")
    elif change == "truncate":
        os.truncate(path, len(data) // 2)
    elif change == "remove":
        path.unlink()
    else:
        other = folder / "new" if change == "replace" else path
        other.write_bytes(data)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns + (change == "rewrite")))
        other.rename(path)
    layout = _core.Layout([("layer.weight", "F32", (3, 4))])
    expected = FileNotFoundError if change == "remove" else InputError
    with pytest.raises(expected, match="step-2.safetensors") as info:
        _core.write_shards([(folder / "shard", origins)], layout)
    if change != "remove":
        assert "changed while it was read" in str(info.value)
    assert not (folder / "shard").exists()
    with pytest.raises(expected):
        _core.write_checkpoint(folder / "copy", origins[2])
    assert not (folder / "copy").exists()
