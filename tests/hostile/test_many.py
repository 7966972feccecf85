"""Memory does not grow with the number of checkpoints, but for their names and digests."""

import json
import subprocess
import sys
from pathlib import Path

from safetensors.torch import save

from tests.support import checkpoint

_SCRIPT = """
import json, sys
from pathlib import Path
from pdiff.bank import collect

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

folder, out = map(Path, sys.argv[1:])
collect(folder / "few", out=out / "few")
before = peak()
bank = collect(folder / "many", out=out / "many")
print(json.dumps([len(bank), peak() - before]))
"""
FEW, MANY = 100, 8000


def test_thousands_of_checkpoints_take_little_memory(tmp_path: Path) -> None:
    state = checkpoint(0)
    frozen = state["frozen.weight"]
    for name, count in (("few", FEW), ("many", MANY)):
        (tmp_path / name).mkdir()
        for index in range(count):
            for tensor in state.values():
                if tensor is not frozen:
                    tensor.add_(1)  # all differ, and this is quicker than other random numbers
            (tmp_path / name / f"step-{index}.safetensors").write_bytes(save(state))
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path), str(tmp_path / "banks")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    members, memory = json.loads(done.stdout)
    assert members == MANY
    assert memory < 3000 * MANY, f"{memory / MANY:.0f} bytes each"
