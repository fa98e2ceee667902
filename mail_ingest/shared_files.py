"""Reading the bytes of files that a database of this process may have open as well.

Locks of SQLite and DuckDB are POSIX record locks: they belong to the process and the file, and the first descriptor of the
file that the process closes lets go of them all, whoever opened it (SQLite, "How To Corrupt An SQLite Database File", 2.2).
Another process then takes a file for unused, and writes into it or removes its log. So a file that is looked at from outside
its database stays open until the process ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

_SQLITE = b"SQLite format 3\0"
_DUCKDB = b"DUCK"  # behind a checksum of 8 bytes
_BESIDE = ("-wal", "-shm", "-journal", ".wal")
#: One descriptor for each file, by device and inode.
_held: dict[tuple[int, int], int] = {}
_lock = threading.Lock()


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file's bytes, `size` at a time. Raises OSError where it cannot be read.

    Keeps one descriptor for ever for each file of a database, none for others.
    """
    descriptor, is_database = _opened(path)
    try:
        offset = 0
        while piece := os.pread(descriptor, size, offset):
            yield piece
            offset += len(piece)
    finally:
        if not is_database:
            os.close(descriptor)


def _opened(path: Path) -> tuple[int, bool]:
    with _lock:
        status = path.stat()
        held = _held.get((status.st_dev, status.st_ino))
        if held is not None:
            return held, True
        descriptor = os.open(path, os.O_RDONLY)
        status = os.fstat(descriptor)
        head = os.pread(descriptor, len(_SQLITE), 0)
        if not (path.name.endswith(_BESIDE) or head == _SQLITE or head[8:12] == _DUCKDB):
            return descriptor, False
        return _held.setdefault((status.st_dev, status.st_ino), descriptor), True
