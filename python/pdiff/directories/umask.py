"""The permissions that new files and directories get."""

import os

__all__ = ["process_umask"]


def process_umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
