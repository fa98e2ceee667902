"""What glibc's malloc is asked for: one heap for all threads, and unused memory back to the operating system.

Nothing of this changes what a program does. Where the C library is another one, nothing happens.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_M_ARENA_MAX = -8  # of glibc's malloc.h


@cache
def share_one_heap() -> None:
    """Lets all threads allocate from one heap, for the rest of the process.

    To be called before anything starts a thread, as numpy does when it is imported: heaps that exist stay in use. With
    a heap each, ten fetching threads left 150 MB of holes behind; with only the two that numpy's threads had made,
    memory grew by 3 MB with every load.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 1)


def return_unused() -> None:
    """Gives pages that nothing uses back to the operating system; milliseconds."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library where it is glibc, else None: others neither know these calls nor need them."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None
