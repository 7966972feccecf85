"""What is found below some paths: taken, skipped or refused, each with its reason."""

import os
import socket
import time
from pathlib import Path

import pytest

from pdiff.checkpoints import Found
from pdiff.checkpoints import listing as listing_module
from pdiff.common.errors import InputError
from tests.unit.checkpoints.files import find, put, sources


def test_every_suffix_is_taken_in_natural_order_and_any_case(tmp_path: Path) -> None:
    names = [
        "a.bin",
        "b.ckpt",
        "c.pt",
        "d.pt.tar",
        "e.pth",
        "f.pth.tar",
        "g.safetensors",
        "h.PTH",
        "i.pkl",
        "j.zip",
    ]
    put(tmp_path, *names, "run/step-10.pt", "run/step-9.pt")
    assert sources(find(tmp_path)) == [*names, "run/step-9.pt", "run/step-10.pt"]


@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt",
        "Optimizer_0.bin",
        "scheduler.pt",
        "lr_scheduler.bin",
        "training_args.bin",
        "rng_state_3.pth",
        "random_states_0.pt",
        "random_states_0.pkl",
        "replay_buffer.pkl",
        "vec_normalize.pkl",
        "scaler.pt",
        "sampler.bin",
        "dl_state_dict.bin",
        "mp_rank_00_optim_states.pt",
        "step-10_optimizer.pt",
        "model.tmp.pt",
        "model.pt.tmp",
        "model.pt.tmp-17-0",
        "trainer_state.json",
        "notes.txt",
        "data.tar",
        "safetensors",
    ],
)
def test_what_is_not_weights_by_its_name_is_skipped(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert find(tmp_path) == Found((), ((name, "not weights by its name"),), ())


@pytest.mark.parametrize("name", ["ckpt-05.keras", "model.weights.h5", "A.KERAS"])
def test_files_of_keras_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    """A zip, as `.keras` is, would else be read where it is named."""
    put(tmp_path, name, content=b"PK\x03\x04....")
    put(tmp_path, "data.h5")
    for path in (tmp_path, tmp_path / name):
        [(source, why)] = find(path).refused
        assert source == name
        assert why.endswith("`torch.save(model.state_dict(), 'model.pt')` writes one that is")


@pytest.mark.parametrize("name", ["weights", "model.weights", "epoch=3.model", "net.pt.best", "blob"])
@pytest.mark.parametrize("begin", [b"PK\x03\x04....", b"\x80\x02\x8a\x0a", b"\x08" + bytes(7) + b"{}"])
def test_a_file_that_is_named_need_not_end_as_weights_do(tmp_path: Path, name: str, begin: bytes) -> None:
    (tmp_path / name).write_bytes(begin)
    assert sources(find(tmp_path)) == []
    assert sources(find(tmp_path / name)) == [name]


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("train.log", b"epoch 1: 0.3"),
        ("config.json", b'{"a": 1}'),
        ("optimizer.weights", b"PK\x03\x04"),
        ("e", b""),
    ],
)
def test_other_files_that_a_pattern_of_the_shell_names_are_skipped(
    tmp_path: Path, name: str, begin: bytes
) -> None:
    (tmp_path / name).write_bytes(begin)
    assert find(tmp_path / name) == Found((), ((name, "not weights by its name"),), ())


@pytest.mark.parametrize("prefix", ["", "step_5/"])
def test_a_distributed_checkpoint_is_refused_once_with_its_converter(tmp_path: Path, prefix: str) -> None:
    put(tmp_path, f"{prefix}.metadata", f"{prefix}__0_0.distcp", f"{prefix}__1_0.distcp", "a.pt")
    found = find(tmp_path)
    assert sources(found) == ["a.pt"]
    ((source, why),) = found.refused
    assert source == (prefix or f"{tmp_path.name}/")
    assert why.startswith("a checkpoint of torch.distributed.checkpoint, in 2 parts; make it one file with")
    assert f"format_utils dcp_to_torch {tmp_path / prefix}" in why
    assert why.endswith("--out FILE.safetensors --i-trust-this-file`"), "without it convert refuses"


@pytest.mark.parametrize("name", ["resnet-scheduler-cosine.pt", "no_optimizer_ema.pt", "attempt.pt"])
def test_names_that_only_resemble_those_are_taken(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert sources(find(tmp_path)) == [name]


def test_hidden_ones_and_pdiffs_own_folders_are_skipped(tmp_path: Path) -> None:
    put(tmp_path, ".x.pt", ".git/y.pt", "a.pt")
    put(tmp_path, "bank/bank.json", "bank/base.safetensors", "out/generated.json", "out/0.safetensors")
    put(tmp_path, "run/run.json", "run/denoiser.safetensors", "judged/results.json", "judged/report.html")
    put(tmp_path, "lm-eval/results.json", "lm-eval/b.pt")
    found = find(tmp_path)
    assert sources(found) == ["a.pt", "lm-eval/b.pt"]
    assert found.skipped == (
        (".git/", "hidden"),
        (".x.pt", "hidden"),
        ("bank/", "pdiff's own (bank.json)"),
        ("judged/", "pdiff's own (results.json)"),
        ("lm-eval/results.json", "not weights by its name"),
        ("out/", "pdiff's own (generated.json)"),
        ("run/", "pdiff's own (run.json)"),
    )
    assert sources(find(tmp_path / "out")) == ["0.safetensors"]


def test_what_cannot_be_weights_is_refused_with_the_cause(tmp_path: Path) -> None:
    put(tmp_path, "empty.pt", content=b"")
    put(tmp_path, "inner.pt/a.pt")
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "dangling.pt").symlink_to("nowhere")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    (tmp_path / "null.pt").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.pt"))
    found = find(tmp_path)
    assert sources(found) == ["inner.pt/a.pt"]
    assert found.refused == (
        ("dangling.pt", "a link to nothing"),
        ("empty.pt", "empty"),
        ("fifo.pt", "a FIFO, not a file"),
        ("folder.safetensors", "a folder, not a file"),
        ("inner.pt", "a folder, not a file"),
        ("loop.pt", "Too many levels of symbolic links"),
        ("null.pt", "a device, not a file"),
        ("socket.pt", "a socket, not a file"),
    )


def test_files_and_folders_that_may_not_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.pt", "closed/b.pt")
    scandir = os.scandir

    def closed(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(listing_module.os, "access", lambda *_: False)
    monkeypatch.setattr(listing_module.os, "scandir", closed)
    assert find(tmp_path).refused == (
        ("a.pt", "permission denied"),
        ("closed/", "the folder cannot be listed (Permission denied)"),
    )


def test_the_same_file_counts_once_and_not_as_the_link(tmp_path: Path) -> None:
    put(tmp_path, "step-2.pt", "step-10.pt")
    (tmp_path / "latest.pt").symlink_to("step-10.pt")
    (tmp_path / "step-11.pt").hardlink_to(tmp_path / "step-2.pt")
    found = find(tmp_path, tmp_path, tmp_path / "step-2.pt")
    assert sources(found) == ["step-2.pt", "step-10.pt"]
    assert found.skipped == (
        ("latest.pt", "the same file as step-10.pt"),
        ("step-11.pt", "the same file as step-2.pt"),
    )


def test_links_to_folders_are_followed_only_as_roots(tmp_path: Path) -> None:
    put(tmp_path, "a/x.pt")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    found = find(tmp_path / "link")
    assert sources(found) == ["x.pt"]
    assert found.skipped == (("again/", "a link to a folder, which is followed only if it is given itself"),)


def test_files_given_one_by_one_obey_the_same_rules(tmp_path: Path) -> None:
    put(tmp_path, "a.pt", "b.pt", "optimizer.pt", ".c.pt")
    found = find(*(tmp_path / name for name in ("b.pt", "a.pt", "optimizer.pt", ".c.pt", "optimizer.pt")))
    assert sources(found) == [".c.pt", "a.pt", "b.pt"]
    assert found.skipped == (("optimizer.pt", "not weights by its name"),)


def test_names_that_clash_are_shown_whole(tmp_path: Path) -> None:
    put(tmp_path, "one/x.pt", "two/x.pt", "two/y.pt")
    found = find(tmp_path / "one", tmp_path / "two")
    assert sources(found) == [f"{tmp_path}/one/x.pt", f"{tmp_path}/two/x.pt", "y.pt"]


def test_names_that_are_not_text_are_shown_with_replacements_and_opened_as_they_are(tmp_path: Path) -> None:
    for name in (b"caf\xe9.pt", b"caf\xe8.pt", b"line\nbreak.pt"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"x")
    found = find(tmp_path)
    assert sources(found) == [f"{tmp_path}/caf�.pt", f"{tmp_path}/caf�.pt (2)", "line�break.pt"]
    assert {os.fsencode(c.files[0].name) for c in found.candidates} == {
        b"caf\xe9.pt",
        b"caf\xe8.pt",
        b"line\nbreak.pt",
    }


@pytest.mark.parametrize("name", ["nowhere", "file.pt/inside", "nul\0.pt", "x" * 300])
def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path, name: str) -> None:
    put(tmp_path, "file.pt")
    with pytest.raises(InputError, match="no such file or folder|cannot be looked at") as caught:
        find(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_ten_thousand_files_are_found_in_a_moment(tmp_path: Path) -> None:
    for index in range(10_000):
        (tmp_path / f"{index}.pt").write_bytes(b"x")
    begin = time.process_time()
    assert sources(find(tmp_path)) == [f"{index}.pt" for index in range(10_000)]
    assert time.process_time() - begin < 5


def test_many_names_that_are_shown_the_same_are_numbered_quickly(tmp_path: Path) -> None:
    for number in range(3000):
        name = b"".join(bytes([0x80 + number // 64**place % 64]) for place in (2, 1, 0))
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".pt")).write_bytes(b"x")
    begin = time.process_time()
    names = sources(find(tmp_path))
    assert len(set(names)) == 3000
    assert names[1].endswith("���.pt (2)")
    assert time.process_time() - begin < 2


def test_an_index_of_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.safetensors")
    index = os.fsencode(tmp_path) + b"/mo\xffdel.safetensors.index.json"
    Path(os.fsdecode(index)).write_text('{"weight_map": {"w": "a.safetensors"}}')
    ((name, why),) = find(tmp_path).refused
    assert name == "mo�del.safetensors.index.json"
    assert why == "its name is no printable text"
