"""Keeps the process small and quick over a long drain: its memory should follow the package, not the mailbox."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from mail_ingest.heap import return_unused

#: New objects that start a collection. Python's 700 costs a twentieth of a drain's time; a message makes a few hundred
#: objects, nearly all of which go without the collector's help.
_YOUNG_OBJECTS = 50_000
#: Thresholds and frozen objects are the process's.
_one_at_a_time = threading.Lock()


@contextmanager
def lean_heap() -> Iterator[Callable[[], None]]:
    """Gives a function that returns unused memory to the operating system, to be called after every package.

    What lives at the start and after the first package (mostly the libraries) is left out of collections: that makes them
    ten times faster. Within another one, as in a drain that goes on beside others, nothing is done: the outer one sees to it.
    """
    if not _one_at_a_time.acquire(blocking=False):
        yield lambda: None
        return
    share_with_arrow()
    thresholds = gc.get_threshold()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    gc.freeze()
    return_unused()
    is_frozen = False

    def tidy() -> None:
        nonlocal is_frozen
        gc.collect()
        if not is_frozen:
            # not before the collection: garbage that is frozen stays
            gc.freeze()
            is_frozen = True
        return_unused()

    try:
        yield tidy
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        _one_at_a_time.release()


def share_with_arrow() -> None:
    """Lets Arrow allocate from the heap of all: its own pool kept 50 MB that it did not use."""
    pa.set_memory_pool(pa.system_memory_pool())
