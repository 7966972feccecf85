"""Files that would run code are refused by the name of what they would call, and run none."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pdiff import _core
from pdiff.bank import Bank
from tests import command
from tests.hostile import payloads
from tests.hostile.assembler import pickled, state_dict, text
from tests.hostile.files import replaced, safetensors, torch_legacy, torch_zip, write
from tests.hostile.places import places
from tests.hostile.refusals import read_all, refusal
from tests.support import checkpoint

CALLS = list(payloads.calls(Path("canary")))
VARIANTS = list(payloads.variants(Path("canary")))
PLACES = places()


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
    assert why in refusal(write(tmp_path / "evil.pt", data))
    assert why in refusal(write(tmp_path / "evil.bin", torch_legacy(extra=body)))
    assert not canary.exists()


@pytest.mark.parametrize("place", PLACES)
def test_no_place_is_overlooked(tmp_path: Path, canary: Path, place: str) -> None:
    body = payloads.calls(canary)["os.system"]
    message = refusal(write(tmp_path / "evil.pt", PLACES[place](body)))
    assert '"os.system"' in message or place == "legacy, in front"
    assert not canary.exists()


@pytest.mark.parametrize("module", ["datetime", "pathlib", "omegaconf", "ml_collections", "mmengine.config"])
def test_what_an_allowed_module_leads_to_is_not_reached(tmp_path: Path, canary: Path, module: str) -> None:
    """Names of these modules stand for objects without content; nothing is looked up through them."""
    function = text(module) + text("sys.modules.__getitem__") + b"\x93"
    body = function + text("os") + b"\x85R"
    body += text(f"touch '{canary}'") + b"\x86"
    path = write(tmp_path / "a.pt", torch_zip(state_dict(extra=body)))
    try:
        assert read_all(path).keys() == {"weight"}
    except _core.InputError as error:
        assert "holds code" in str(error)
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


@pytest.fixture
def folder(tmp_path: Path, canary: Path) -> Path:
    """Three good checkpoints and every evil one."""
    torch = pytest.importorskip("torch")
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(3):
        torch.save(checkpoint(index), folder / f"good-{index}.pt")
    for number, body in enumerate(payloads.calls(canary).values()):
        write(folder / f"evil-{number}.pt", torch_zip(state_dict(extra=body)))
    for number, (body, _) in enumerate(payloads.variants(canary).values()):
        write(folder / f"evil-variant-{number}.pth", torch_legacy(extra=body))
        write(folder / f"evil-bare-{number}.bin", pickled(body))
    for number, place in enumerate(PLACES.values()):
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
    assert found["checkpoints"] == 3
    assert {note["name"] for note in found["refused"]} == evil
    assert all("\n" not in note["why"] for note in found["refused"])

    collected = pdiff("collect", folder, "--out", folder.parent / "bank")
    assert collected.returncode == 0, collected.stderr
    assert len(Bank.open(folder.parent / "bank")) == 3
    assert "evil-0.pt" in collected.stderr

    strict = pdiff("collect", "--strict", folder, "--out", folder.parent / "strict")
    assert strict.returncode == 3
    assert strict.stderr.splitlines()[-1].startswith("pdiff: ")
    assert not (folder.parent / "strict").exists()
    assert not canary.exists()


def test_convert_points_to_the_switch_and_runs_nothing(
    tmp_path: Path, canary: Path, pdiff: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = write(tmp_path / "evil.pt", torch_zip(state_dict(extra=payloads.calls(canary)["os.system"])))
    done = pdiff("convert", path, "--out", "a.safetensors")
    assert done.returncode == 2
    assert "--i-trust-this-file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"evil.pt"}
