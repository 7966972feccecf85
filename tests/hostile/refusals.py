"""What every refusal has in common: an `InputError` of one line that begins with the path."""

from pathlib import Path

import pytest

from pdiff import _core

__all__ = ["outcome", "read_all", "refusal"]


def outcome(path: Path) -> tuple[dict[str, bytes], str]:
    """Read all tensors of `path`; return them and what was said: what is left out, or why it is refused."""
    try:
        tensors = read_all(path)
    except _core.InputError:
        return {}, refusal(path)
    left_out = _core.Checkpoint([path]).left_out
    assert len(left_out) < 100
    assert all(name.isprintable() for name in left_out)
    return tensors, ", ".join(left_out)


def refusal(path: Path) -> str:
    """Open `path` and read all its tensors, which must be refused; return why, without the path."""
    with pytest.raises(_core.InputError) as info:
        read_all(path)
    message = str(info.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def read_all(path: Path) -> dict[str, bytes]:
    """Return the bytes of every tensor of a checkpoint."""
    checkpoint = _core.Checkpoint([path])
    return {tensor.name: checkpoint.read(tensor.name) for tensor in checkpoint.tensors}
