"""Reading the bytes of files that a database of this process may have open as well.

Locks of SQLite and DuckDB are POSIX record locks: they belong to the process and the file, and the first descriptor of the
file that the process closes lets go of them all, whoever opened it (SQLite, "How To Corrupt An SQLite Database File", 2.2).
Another process then takes a file for unused, and writes into it or removes its log. So a file that is looked at from outside
its database stays open until it is deleted or the process ends.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_SQLITE = b"SQLite format 3\0"
_DUCKDB = b"DUCK"  # behind a checksum of 8 bytes
_BESIDE = ("-wal", "-shm", "-journal", ".wal")
#: One descriptor for each file, by device and inode.
_held: dict[tuple[int, int], int] = {}
#: How often each of them is being read at the moment.
_reading: Counter[int] = Counter()
_lock = threading.Lock()


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file's bytes, `size` at a time. Raises OSError where it cannot be read.

    Keeps one descriptor for each file of a database, as long as there is the file, and none for others.
    """
    descriptor, is_database = _opened(path)
    try:
        offset = 0
        while piece := os.pread(descriptor, size, offset):
            yield piece
            offset += len(piece)
    finally:
        if is_database:
            with _lock:
                _reading[descriptor] -= 1
        else:
            os.close(descriptor)


def _opened(path: Path) -> tuple[int, bool]:
    with _lock:
        _close_deleted()
        status = path.stat()
        descriptor = _held.get((status.st_dev, status.st_ino))
        if descriptor is None:
            descriptor, is_database = _open_anew(path)
            if not is_database:
                return descriptor, False
        _reading[descriptor] += 1
        return descriptor, True


def _open_anew(path: Path) -> tuple[int, bool]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        head = os.pread(descriptor, len(_SQLITE), 0)
    except BaseException:
        os.close(descriptor)
        raise
    if not (path.name.endswith(_BESIDE) or head == _SQLITE or head[8:12] == _DUCKDB):
        return descriptor, False
    return _held.setdefault((status.st_dev, status.st_ino), descriptor), True


def _close_deleted() -> None:
    """A file that was replaced is opened by nobody any more, and while it is held the disk keeps what was in it."""
    for key, descriptor in list(_held.items()):
        if not _reading[descriptor] and os.fstat(descriptor).st_nlink == 0:
            del _held[key], _reading[descriptor]
            os.close(descriptor)
