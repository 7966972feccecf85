"""Output directories: whole or absent, and nobody else's is ever replaced."""

from pdiff.directories.in_place import prepare_directory
from pdiff.directories.locks import locked
from pdiff.directories.paths import require_inside
from pdiff.directories.refusal import refuse_directory, require_writable
from pdiff.directories.staging import scratch, staged_directory
from pdiff.directories.umask import process_umask

__all__ = [
    "locked",
    "prepare_directory",
    "process_umask",
    "refuse_directory",
    "require_inside",
    "require_writable",
    "scratch",
    "staged_directory",
]
