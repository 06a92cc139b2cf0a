"""Memory of the process, as the C library gives it back to the operating system.

This is about glibc, which nearly all Linux servers have.  It keeps what is freed for
later, so that a server would grow with each thread that has searched a large index.
"""

from __future__ import annotations

import ctypes
import sys

# From mallopt(3)
M_MMAP_THRESHOLD = -3
# Bytes of an array that is given back as soon as it is freed; smaller ones are kept
LARGE = 1_000_000


def give_back_large_arrays() -> None:
    """Let the memory of large arrays go back when they are freed, from now on."""
    _call("mallopt", M_MMAP_THRESHOLD, LARGE)


def release() -> None:
    """Give back what was freed until now: 20 MB after a model was loaded."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        # Other C libraries do not have it
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*arguments)
