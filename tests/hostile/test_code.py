"""Files that would run code run none. What they would call is named.

A file whose weights are plain is read whatever stands beside them, since nothing of it runs; one whose
weights would be made by code is refused.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdiff import _core
from pdiff.bank import Bank
from tests import command
from tests.hostile import payloads
from tests.hostile.assembler import call, dictionary, load, pickled, state_dict, storage, tensor, text, tuple_
from tests.hostile.files import THREE, legacy, replaced, safetensors, torch_legacy, torch_zip, write
from tests.hostile.places import places
from tests.hostile.refusals import outcome, read_all, refusal
from tests.support import checkpoint

CALLS = list(payloads.calls(Path("canary")))
VARIANTS = list(payloads.variants(Path("canary")))
PLACES = places()
BESIDE = {
    "beside the weights", "dropped", "in front", "in the optimiser", "in a namespace", "in a list",
    "extra state", "attributes", "storage location", "requires_grad", "hooks", "legacy, beside",
}  # fmt: skip
"""Places where nothing of the weights depends on the value: there they are read."""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A path that must not exist in the end."""
    return tmp_path / "canary"


def test_the_corpus_is_alive(canary: Path) -> None:
    """Python itself runs these payloads; otherwise the tests below would show nothing."""
    script = (
        "import pathlib, pickle, sys, time\n"
        "canary = pathlib.Path(sys.argv[1])\n"
        "for file in sys.argv[2:]:\n"
        "    try: pickle.loads(pathlib.Path(file).read_bytes())\n"
        "    except Exception: pass\n"
        "    for _ in range(500):\n"
        "        if canary.exists(): break\n"
        "        time.sleep(0.01)\n"
        "    else: sys.exit(f'{file} did nothing')\n"
        "    canary.unlink()\n"
    )
    bodies = payloads.variants(canary)
    files: list[Path] = []
    for name in payloads.ALIVE:
        files.append(write(canary.with_name(f"{len(files)}.pkl"), pickled(bodies[name][0], 4)))
    done = subprocess.run(
        [sys.executable, "-c", script, str(canary), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", CALLS)
def test_no_function_is_called_and_each_is_named(tmp_path: Path, canary: Path, name: str) -> None:
    body = payloads.calls(canary)[name]
    for data in (torch_zip(state_dict(extra=body)), torch_legacy(extra=body)):
        # The weights are plain, so they are read; their neighbour is named, and was never called.
        tensors, said = outcome(write(tmp_path / "evil.pt", data))
        assert tensors == {"weight": THREE}
        assert said == f"extra, object of {name}"
    for data in (torch_zip(body), torch_zip(dictionary({"state_dict": body}))):
        message = refusal(write(tmp_path / "evil.pt", data))
        assert f'holds code, not only data (global "{name}")' in message
        assert "accepted: " in message
    refusal(write(tmp_path / "evil.pt", pickled(body)))
    assert not canary.exists()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("protocol", [2, 5])
def test_no_way_of_calling_is_followed(tmp_path: Path, canary: Path, name: str, protocol: int) -> None:
    body, why = payloads.variants(canary)[name]
    data = replaced(torch_zip(), "data.pkl", data=pickled(state_dict(extra=body), protocol))
    for file, content in (("evil.pt", data), ("evil.bin", torch_legacy(extra=body))):
        tensors, said = outcome(write(tmp_path / file, content))
        assert tensors == {"weight": THREE}  # read beside it, since nothing of it runs
        assert why in said
    assert not canary.exists()


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_that_only_code_would_make_are_refused(tmp_path: Path, canary: Path, name: str) -> None:
    body, _ = payloads.variants(canary)[name]
    refusal(write(tmp_path / "evil.pt", torch_zip(dictionary({"state_dict": body}))))
    evil = payloads.calls(canary)["os.system"]
    rebuild, three = load("os.system"), tensor(storage("0", 3), [3], [1])
    weights = {
        "from a tensor": call(rebuild, three),
        "from a storage": call(rebuild, storage("0", 3), text("x")),
        "from a tuple": call(rebuild, tuple_(storage("0", 3), evil)),
        "with a state": three + evil + b"b",
        "as a parameter": call(load("torch._utils._rebuild_parameter"), call(rebuild, three)),
    }
    for weight in weights.values():
        for state in ({"weight": three, "made": weight}, {"made": weight}):
            message = refusal(
                write(tmp_path / "evil.pt", torch_zip(dictionary({"state_dict": dictionary(state)})))
            )
            assert 'holds code, not only data (global "os.system")' in message
    assert not canary.exists()


@pytest.mark.parametrize("place", PLACES)
def test_no_place_is_overlooked(tmp_path: Path, canary: Path, place: str) -> None:
    body = payloads.calls(canary)["os.system"]
    tensors, said = outcome(write(tmp_path / "evil.pt", PLACES[place](body)))
    assert "os.system" in said or place in {
        "legacy, in front",
        "legacy, version",
        "legacy, facts",
        "legacy, keys",
    }
    assert tensors in ({}, {"weight": THREE})
    assert bool(tensors) == (place in BESIDE)
    assert not canary.exists()


@pytest.mark.parametrize("module", ["datetime", "pathlib", "omegaconf", "ml_collections", "mmengine.config"])
def test_what_an_allowed_module_leads_to_is_not_reached(tmp_path: Path, canary: Path, module: str) -> None:
    """Names of these modules stand for objects without content; nothing is looked up through them."""
    function = text(module) + text("sys.modules.__getitem__") + b"\x93"
    body = function + text("os") + b"\x85R"
    body += text(f"touch '{canary}'") + b"\x86"
    tensors, said = outcome(write(tmp_path / "a.pt", torch_zip(state_dict(extra=body))))
    assert tensors == {"weight": THREE}
    assert said == f"extra, object of {module}.sys.modules.__getitem__"
    assert not canary.exists()


def test_bare_pickles_are_refused(tmp_path: Path, canary: Path) -> None:
    body = payloads.calls(canary)["os.system"]
    for protocol in range(6):
        data = pickled(body, protocol) if protocol > 1 else body + b"."
        refusal(write(tmp_path / "evil.pkl", data))
    assert "pickle that torch.save did not write" in refusal(write(tmp_path / "evil.pt", pickled(body)))
    assert not canary.exists()


def test_text_in_a_safetensors_file_stays_text(tmp_path: Path, canary: Path) -> None:
    shell = f"$(touch '{canary}')\n`touch '{canary}'`"
    header = {
        "__metadata__": {shell: shell},
        shell: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]},
    }
    path = write(tmp_path / "a.safetensors", safetensors(header))
    assert read_all(path) == {shell: b""}
    assert _core.Checkpoint([path]).metadata == {shell: shell}
    assert not canary.exists()


class Evil:
    """Runs a command where a pickle is believed."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


@pytest.fixture
def folder(tmp_path: Path, canary: Path) -> Path:
    """Three good checkpoints, one whose weights have an evil neighbour, and every one that is evil itself."""
    torch = pytest.importorskip("torch")
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(3):
        torch.save({"state_dict": checkpoint(index)}, folder / f"good-{index}.pt")
    neighbour = {"state_dict": checkpoint(3), "extra": Evil(f"touch '{canary}'")}
    torch.save(neighbour, folder / "neighbour.pt")
    for number, body in enumerate(payloads.calls(canary).values()):
        write(folder / f"evil-{number}.pt", torch_zip(dictionary({"state_dict": body})))
    for number, (body, _) in enumerate(payloads.variants(canary).values()):
        write(folder / f"evil-variant-{number}.pth", legacy(dictionary({"state_dict": body}), []))
        write(folder / f"evil-bare-{number}.bin", pickled(body))
    for number, (name, place) in enumerate(PLACES.items()):
        if name not in BESIDE:
            write(folder / f"evil-place-{number}.ckpt", place(payloads.calls(canary)["os.system"]))
    return folder


@pytest.fixture
def pdiff(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in an empty folder."""
    return lambda *arguments: command.pdiff(tmp_path, *map(str, arguments))


def test_commands_leave_evil_files_out(
    folder: Path, canary: Path, pdiff: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    evil = {path.name for path in folder.iterdir() if path.name.startswith("evil")}
    inspected = pdiff("inspect", "--json", folder)
    assert inspected.returncode == 0, inspected.stderr
    found = json.loads(inspected.stdout)
    assert found["checkpoints"] == 4
    assert {note["name"] for note in found["refused"]} == evil
    assert all("\n" not in note["why"] for note in found["refused"])

    collected = pdiff("collect", folder, "--out", folder.parent / "bank")
    assert collected.returncode == 0, collected.stderr
    assert len(Bank.open(folder.parent / "bank")) == 4
    assert "evil-0.pt" in collected.stderr

    strict = pdiff("collect", "--strict", folder, "--out", folder.parent / "strict")
    assert strict.returncode == 3
    assert strict.stderr.splitlines()[-1].startswith("pdiff: ")
    assert not (folder.parent / "strict").exists()
    assert not canary.exists()


def test_convert_points_to_the_switch_and_runs_nothing(
    tmp_path: Path, canary: Path, pdiff: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    body = payloads.calls(canary)["os.system"]
    path = write(tmp_path / "evil.pt", torch_zip(dictionary({"state_dict": body})))
    done = pdiff("convert", path, "--out", "a.safetensors")
    assert done.returncode == 2
    assert "--i-trust-this-file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"evil.pt"}
