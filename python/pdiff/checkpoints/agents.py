"""Takes an agent of Stable-Baselines3 apart, a zip with its policy, and puts it together with another policy.

What stands beside the policy (settings, optimisers, versions) is copied as it is. Nothing of it is looked
into: the settings hold pickled objects, which the library runs when it loads an agent.
"""

import io
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

POLICY = "policy.pth"
_MOST = 64 * 2**20
"""Bytes beside the policy: the optimiser of a large convolutional one has some 15 MB."""


def is_agent(path: Path) -> bool:
    """Return whether the file is a zip that holds a policy, and no torch file."""
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError, ValueError):
        return False
    return POLICY in names and not any(name.endswith("data.pkl") for name in names)


def without_policy(path: Path) -> bytes | None:
    """Return the zip of the agent at `path` without its policy; None if it is none, or too large to keep."""
    if not is_agent(path):
        return None
    try:
        with ZipFile(path) as archive:
            others = [entry for entry in archive.infolist() if entry.filename != POLICY]
            if sum(entry.file_size for entry in others) > _MOST:
                return None
            return _zip(io.BytesIO(), {entry.filename: archive.read(entry) for entry in others})
    except (BadZipFile, OSError, ValueError, RuntimeError):  # damaged, or encrypted
        return None


def with_policy(agent: bytes, policy: bytes | memoryview) -> bytes:
    """Return the zip `agent`, with `policy` added."""
    return _zip(io.BytesIO(agent), {POLICY: policy})


def _zip(file: io.BytesIO, entries: dict[str, bytes | memoryview]) -> bytes:
    """Add entries to the zip in `file`, uncompressed and without a time, and return it."""
    with ZipFile(file, "a") as archive:
        for name, content in entries.items():
            archive.writestr(ZipInfo(name), content)
    return file.getvalue()
