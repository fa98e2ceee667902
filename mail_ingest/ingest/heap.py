"""Keeps the process small and quick over a long drain: its memory should follow the package, not the mailbox."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa

_M_ARENA_MAX = -8  # of glibc's malloc.h
#: New objects that start a collection. Python's 700 costs a twentieth of a drain's time; a message makes a few hundred
#: objects, nearly all of which go without the collector's help.
_YOUNG_OBJECTS = 50_000


@contextmanager
def lean_heap() -> Iterator[Callable[[], None]]:
    """Gives a function that returns unused memory to the operating system, to be called after every package.

    What lives at the start and after the first package (mostly the libraries) is left out of collections: that makes them
    ten times faster.
    """
    share_one_heap()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    is_frozen = False

    def tidy() -> None:
        nonlocal is_frozen
        gc.collect()
        if not is_frozen:
            # not before the collection: garbage that is frozen stays
            gc.freeze()
            is_frozen = True
        libc = _glibc()
        if libc is not None:
            libc.malloc_trim(0)

    try:
        yield tidy
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@cache
def share_one_heap() -> None:
    """Lets all threads, and Arrow, allocate from one heap.

    With an arena each, ten fetching threads left 150 MB of holes behind; Arrow's own pool kept 50 MB that it did not use.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 1)


@cache
def _glibc() -> Any:
    """The C library where it is glibc, else None: others neither know these calls nor need them."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None
