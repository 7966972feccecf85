"""Converting: safely where that is possible, by running the file only if told to, whole or not at all."""

import errno
import operator
import os
import pickle
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed import checkpoint as distributed_checkpoint

from pdiff import _core
from pdiff.checkpoints import Choice, convert, convert_folder, unpickle
from pdiff.checkpoints.loading import Loader
from pdiff.common.directories import locked
from pdiff.common.errors import InputError, UsageError
from tests.support import Said, checkpoint


class Does:
    """Unpickles by calling something."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata() or {}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "x.safetensors"


LOAD = "pdiff.checkpoints.loading.Loader.load"


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(LOAD, refuse)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load files in this process, where that it is another one is not what is tested."""

    def load(_: Loader, file: Path, out: Path, choice: Choice) -> str | None:
        ema = {None: "", True: "yes", False: "no"}[choice.ema]
        try:
            unpickle.main(str(file), str(out), choice.key or "", ema)
        except SystemExit as error:
            return str(error)
        return None

    monkeypatch.setattr(LOAD, load)


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    """Return a loader that several tests share, with all that they do to it."""
    with Loader() as loader:
        yield loader


@pytest.fixture
def in_fork(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    """Load files in forks of one process."""
    load = Loader.load
    monkeypatch.setattr(LOAD, lambda _, *arguments: load(loader, *arguments))


@pytest.mark.usefixtures("no_process")
def test_plain_data_is_converted_without_a_process_or_trust(tmp_path: Path, out: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in checkpoint(1).items()}
    torch.save({"state_dict": state, "accuracy": 0.5, "epoch": 3}, tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", out)
    assert (done.read, done.key, done.tensors, done.bytes) == ("safely", "state_dict", 6, out.stat().st_size)
    assert equal(load_file(out), checkpoint(1))
    assert {name: float(text) for name, text in metadata(out).items()} == {"accuracy": 0.5, "epoch": 3.0}


@pytest.mark.usefixtures("no_process")
def test_trust_changes_nothing_for_plain_data(tmp_path: Path, out: Path) -> None:
    save_file(checkpoint(1), tmp_path / "x.safetensors", {"note": "hello"})
    assert convert(tmp_path / "x.safetensors", out, trusted=True).read == "safely"
    assert equal(load_file(out), checkpoint(1))
    assert metadata(out) == {"note": "hello"}


@pytest.mark.usefixtures("in_fork")
def test_a_whole_module_is_refused_then_run_if_trusted(tmp_path: Path, out: Path) -> None:
    network = module()
    torch.save(network, tmp_path / "whole.pt")
    with pytest.raises(UsageError, match="--i-trust-this-file .* runs code from the file"):
        convert(tmp_path / "whole.pt", out)
    assert list(out.parent.iterdir()) == []
    done = convert(tmp_path / "whole.pt", out, trusted=True)
    assert done.read == "by running it"
    assert equal(load_file(out), network.state_dict())
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_converted_if_trusted(tmp_path: Path, out: Path) -> None:
    network = module().eval()
    torch.jit.trace(network, torch.ones(4, 3)).save(tmp_path / "script.pt")
    with pytest.raises(UsageError, match="--i-trust-this-file"):
        convert(tmp_path / "script.pt", out)
    convert(tmp_path / "script.pt", out, trusted=True)
    assert equal(load_file(out), network.state_dict())


@pytest.mark.usefixtures("in_process")
def test_modules_nested_in_a_training_checkpoint_are_found_and_chosen(tmp_path: Path, out: Path) -> None:
    plain, averaged = module(), module()
    torch.save({"model": plain, "ema": averaged, "fitness": 0.25, "epoch": 7}, tmp_path / "yolo.pt")

    def converted(**choice: Any) -> tuple[str, dict[str, Tensor]]:
        done = convert(tmp_path / "yolo.pt", out, Choice(**choice), trusted=True, overwrite=True)
        return done.key, load_file(out)

    key, state = converted()
    assert key == "ema"
    assert equal(state, averaged.state_dict())
    assert metadata(out) == {"epoch": "7", "fitness": "0.25"}
    for choice in ({"ema": False}, {"key": "model"}):
        key, state = converted(**choice)
        assert key == "model"
        assert equal(state, plain.state_dict())
    with pytest.raises(InputError, match="no weights found under nonsense"):
        converted(key="nonsense")


@pytest.mark.usefixtures("in_process")
def test_tied_and_transposed_tensors_are_written_whole(tmp_path: Path, out: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    network[0].bias = nn.Parameter(torch.arange(6.0).reshape(2, 3).T[:, 1])
    torch.save(network, tmp_path / "tied.pt")
    convert(tmp_path / "tied.pt", out, trusted=True)
    assert equal(load_file(out), network.state_dict())


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_an_evil_file_runs_without_trust(tmp_path: Path, out: Path, legacy: bool) -> None:
    canary = tmp_path / "canary"
    content = {"state_dict": module(), "extra": Does(os.mkdir, str(canary))}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UsageError, match="runs code from the file"):
        convert(tmp_path / "evil.pt", out)
    assert not canary.exists()
    convert(tmp_path / "evil.pt", out, trusted=True)
    assert canary.exists()  # it was evil indeed
    assert load_file(out).keys() == module().state_dict().keys()


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("trusted", [False, True])
def test_weights_beside_an_evil_neighbour_are_converted_without_running_it(
    tmp_path: Path, out: Path, trusted: bool
) -> None:
    canary = tmp_path / "canary"
    content = {"state_dict": checkpoint(0), "extra": Does(os.mkdir, str(canary))}
    torch.save(content, tmp_path / "evil.pt")
    assert convert(tmp_path / "evil.pt", out, trusted=trusted).read == "safely"
    assert not canary.exists()
    assert equal(load_file(out), checkpoint(0))


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("key", ["model", ""])
def test_a_plain_pickle_of_arrays_is_refused_by_that_name_then_run_if_trusted(
    tmp_path: Path, out: Path, protocol: int, key: str
) -> None:
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "half": np.ones((), dtype=np.float16),
        "big-endian": np.arange(3, dtype=">f4"),
        "texts": np.array(["a"]),
        "objects": np.array([None]),
        "wide": np.zeros(2, dtype=np.complex128),
    }
    content = {"model": arrays, "__author__": "x", "step": 3} if key else arrays
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UsageError, match="a pickle of NumPy arrays .* --i-trust-this-file loads it"):
        convert(file, out)
    done = convert(file, out, trusted=True)
    assert (done.read, done.key) == ("by running it", key)
    written = load_file(out)
    assert written.keys() == {"c", "fortran", "half", "big-endian"}
    assert all(written[name].numpy().tolist() == arrays[name].tolist() for name in written)
    assert written["fortran"].dtype == torch.int32
    assert metadata(out) == ({"step": "3"} if key else {})


@pytest.mark.usefixtures("in_process")
def test_a_pickle_of_python_2_is_run_if_trusted(tmp_path: Path, out: Path) -> None:
    data = b"\x00\x00\xc0\x7f\xff\xff\x80\x3f"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x02\x85cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + data + b"tb"
    )
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}U\x05modelq\x01}U\x01w" + array + b"ss.")
    convert(tmp_path / "x.pkl", out, trusted=True)
    assert load_file(out)["w"].numpy().tobytes() == data


class Sharded(Tensor):
    """Stands for a distributed tensor: this process has a part only."""

    def full_tensor(self) -> Tensor:
        return torch.arange(4.0)


class Packed(Tensor):
    """Stands for a quantised tensor of another library."""

    def dequantize(self) -> Tensor:
        return torch.arange(3.0)


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_subclasses_of_tensors_become_what_they_stand_for(tmp_path: Path, out: Path) -> None:
    content = {
        "sharded": torch.ones(2).as_subclass(Sharded),
        "packed": torch.ones(2).as_subclass(Packed),
        "quantised": torch.quantize_per_tensor(torch.arange(3.0), 1.0, 0, torch.qint8),
        "plain": nn.Parameter(torch.ones(2)),
    }
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError):
        _core.Checkpoint([tmp_path / "x.pt"])
    torch.save({**content, "last": nn.Linear}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", out, trusted=True)
    written = load_file(out)
    assert equal(
        written,
        {
            "sharded": torch.arange(4.0),
            "packed": torch.arange(3.0),
            "quantised": torch.arange(3.0),
            "plain": torch.ones(2),
        },
    )


@pytest.mark.usefixtures("in_fork")
@pytest.mark.parametrize(
    ("does", "said"),
    [
        (Does(os._exit, 0), "loading it failed (exit code 0)"),
        (Does(os._exit, 7), "loading it failed (exit code 7)"),
        (
            Does(signal.raise_signal, signal.SIGSEGV),
            "loading it failed (ended by signal 11, Segmentation fault)",
        ),
        (Does(eval, "int('x\x1b[31m')"), "loading it failed (ValueError: invalid literal for int()"),
        (Does(operator.concat, "a", "b"), "loading it failed (no weights found; got str)"),
    ],
)
def test_a_process_that_fails_is_one_line_and_leaves_nothing(
    tmp_path: Path, out: Path, does: Does, said: str
) -> None:
    torch.save(does, tmp_path / "x.pt")
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "x.pt", out, trusted=True)
    assert str(caught.value).startswith(f"{tmp_path / 'x.pt'}: {said}")
    assert str(caught.value).isprintable()
    assert list(out.parent.iterdir()) == []


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_no_trust_could_read_is_refused_without_that_advice(
    tmp_path: Path, out: Path, content: bytes
) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    for trusted in (False, True):
        with pytest.raises(InputError, match="x.pt") as caught:
            convert(tmp_path / "x.pt", out, trusted=trusted)
        assert "--i-trust" not in str(caught.value)


@pytest.mark.usefixtures("no_process")
def test_a_wrong_key_of_a_safe_file_is_no_matter_of_trust(tmp_path: Path, out: Path) -> None:
    torch.save({"state_dict": checkpoint(0)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="nonsense"):
        convert(tmp_path / "x.pt", out, Choice(key="nonsense"), trusted=True)


@pytest.mark.usefixtures("no_process")
def test_outputs_that_must_not_be_written_are_refused(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "x.safetensors"
    save_file(checkpoint(0), source)

    def refusal(target: Path, **options: bool) -> str:
        with pytest.raises(UsageError) as caught:
            convert(source, target, **options)
        return str(caught.value).removeprefix(f"{target}: ")

    assert refusal(tmp_path / "x.pt") == "the output is safetensors; name it *.safetensors"
    assert refusal(tmp_path / "no" / "x.safetensors") == f"no such folder {tmp_path / 'no'}"
    assert refusal(source, overwrite=True) == "cannot be replaced; name another file with --out"
    out.write_text("precious")
    assert refusal(out) == "exists; replace it with --overwrite"
    assert out.read_text() == "precious"
    convert(source, out, overwrite=True)
    assert equal(load_file(out), checkpoint(0))


@pytest.mark.usefixtures("in_fork")
def test_a_failure_leaves_the_old_output(tmp_path: Path, out: Path) -> None:
    out.write_text("precious")
    torch.save(Does(signal.raise_signal, signal.SIGSEGV), tmp_path / "x.pt")
    with pytest.raises(InputError, match="ended by signal 11"):
        convert(tmp_path / "x.pt", out, trusted=True, overwrite=True)
    assert out.read_text() == "precious"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.usefixtures("in_process")
def test_what_a_killed_conversion_left_is_removed_but_not_what_is_in_use(tmp_path: Path, out: Path) -> None:
    torch.save(module(), tmp_path / "x.pt")
    stale, used = (out.parent / f".x.safetensors.staged-{name}" for name in ("stale", "used"))
    for folder in (stale, used):
        folder.mkdir()
        (folder / "weights.safetensors").write_text("half")
    with locked(used, "converting"):
        convert(tmp_path / "x.pt", out, trusted=True)
    assert sorted(out.parent.iterdir()) == [used, out]


def test_only_a_file_that_holds_code_is_offered_to_be_trusted(tmp_path: Path, out: Path) -> None:
    torch.save(checkpoint(0), tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(content[: len(content) // 2])
    for trusted in (False, True):
        with pytest.raises(InputError) as caught:
            convert(tmp_path / "x.pt", out, trusted=trusted)
        assert "trust" not in str(caught.value)


def test_a_disk_without_room_is_noticed_before(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = torch.ones(1000)
    torch.save({str(i): tensor for i in range(100)}, tmp_path / "x.pt")  # each name is written on its own
    wanted = []

    def full(out: Path, needed: int) -> None:
        wanted.append(needed)
        raise UsageError(f"{out}: needs {needed}")

    monkeypatch.setattr("pdiff.checkpoints.conversion.require_space", full)
    with pytest.raises(UsageError):
        convert(tmp_path / "x.pt", out)
    assert wanted == [400_000]
    assert not out.exists()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_enough(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    torch.save(module(), tmp_path / "x.pt")
    convert(tmp_path / "x.pt", out, trusted=True)
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_that_is_not_writable_is_refused_before_anything_is_read(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != out.parent)
    with pytest.raises(UsageError, match="is not writable; name another with --out"):
        convert(tmp_path / "nowhere.pt", out)


def test_a_file_without_tensors_holds_no_weights(tmp_path: Path, out: Path) -> None:
    save_file({}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="x.safetensors: no weights found: it holds no tensors"):
        convert(tmp_path / "x.safetensors", out)


def distributed(folder: Path, state: dict[str, Tensor]) -> Path:
    """Write a folder as torch.distributed.checkpoint does, in this process alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distributed_checkpoint.save(state, checkpoint_id=folder)
    return folder


@pytest.mark.usefixtures("in_fork")
def test_a_distributed_checkpoint_is_named_with_its_converter(tmp_path: Path, out: Path) -> None:
    folder = distributed(tmp_path / "step_1", checkpoint(0))
    with pytest.raises(UsageError, match=r"format_utils dcp_to_torch .*step_1 FILE.pt.*--i-trust-this-file"):
        convert(folder, out)
    assert convert(folder, out, trusted=True).read == "by running it"
    assert equal(load_file(out), checkpoint(0))


@pytest.mark.usefixtures("in_process")
def test_a_folder_is_converted_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    (folder / "a").mkdir(parents=True)
    save_file(checkpoint(0), folder / "a/x.safetensors")
    torch.save({"state_dict": checkpoint(1)}, folder / "x.pt")
    torch.save(checkpoint(2), folder / "x.pth")
    (folder / "y.pkl").write_bytes(pickle.dumps({"w": np.ones(3)}))
    said = Said()
    done = convert_folder(folder, tmp_path / "out", progress=said)
    names = ["a/x.safetensors", "x.safetensors", "x.pth.safetensors"]
    assert sorted(each.out for each in done) == sorted(str(tmp_path / "out" / name) for name in names)
    for index, name in enumerate(names):
        assert equal(load_file(tmp_path / "out" / name), checkpoint(index))
    (line,) = said
    assert line.startswith(f"left out {folder / 'y.pkl'}: ")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no checkpoint to convert"):
        convert_folder(tmp_path / "empty", tmp_path / "nothing")


@pytest.mark.usefixtures("in_process")
def test_folders_of_a_distributed_training_are_converted_together(tmp_path: Path) -> None:
    for index in range(2):
        distributed(tmp_path / f"ckpts/step_{index}", checkpoint(index))
    done = convert_folder(tmp_path / "ckpts", tmp_path / "out", trusted=True)
    assert [each.out for each in done] == [str(tmp_path / f"out/step_{i}.safetensors") for i in range(2)]
    assert equal(load_file(tmp_path / "out/step_1.safetensors"), checkpoint(1))


def test_files_of_a_folder_share_a_process_and_none_harms_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, popen = list[object](), subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        return popen(*arguments, **options)

    monkeypatch.setattr("pdiff.checkpoints.loading.subprocess.Popen", start)
    folder, networks = tmp_path / "ckpts", [module() for _ in range(3)]
    folder.mkdir()
    shout = "import sys; print('[0, \"\"]', flush=True)"
    for name, content in {
        "0": networks[0],
        "1-talks": {"model": networks[1], "does": Does(exec, shout)},
        "2-crashes": Does(signal.raise_signal, signal.SIGSEGV),
        "3": networks[2],
        "4-ends-all": Does(exec, "import os; os.kill(os.getppid(), 9); os._exit(0)"),
        "5": networks[0],
    }.items():
        torch.save(content, folder / f"{name}.pt")
    said = Said()
    done = convert_folder(folder, tmp_path / "out", trusted=True, progress=said)
    names = ["0", "1-talks", "3", "5"]
    assert [Path(each.out).stem for each in done] == names
    for name, network in zip(names, [*networks, networks[0]], strict=True):
        assert equal(load_file(tmp_path / f"out/{name}.safetensors"), network.state_dict())
    crashed, killed = (line for line in said if line.startswith("left out"))
    assert crashed.endswith("2-crashes.pt: loading it failed (ended by signal 11, Segmentation fault)")
    assert killed.endswith("4-ends-all.pt: loading it failed (ended by signal 9, Killed)")
    assert len(started) == 2, "another one after what ended the first"
