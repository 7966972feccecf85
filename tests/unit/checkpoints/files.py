"""Files for finding, with no weights in them."""

from pathlib import Path

from pdiff.checkpoints import Found, find_checkpoints


def put(folder: Path, *names: str, content: bytes = b"weights") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def sources(found: Found) -> list[str]:
    return [candidate.source for candidate in found.candidates]


def find(*paths: Path) -> Found:
    return find_checkpoints(paths)
