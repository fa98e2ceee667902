"""Folders and files that nobody else can look into: what lies in them is mail, and what opens it."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path

logger = logging.getLogger(__name__)

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """Makes the folder, and those above it that are missing, for this user alone (0700). One that exists stays as it is."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)


def guard(folder: Path) -> None:
    """Keeps strangers from writing into a folder: they could put links in the place of files. Group rights are a choice.

    What is not ours alone to change is only told: a folder of somebody else's, as a container's volume may be, and one that
    is shared on purpose, as `/tmp` is.
    """
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except FileNotFoundError:
        return
    if not mode & stat.S_IWOTH:
        return
    if not mode & stat.S_ISVTX:
        with suppress(PermissionError):
            folder.chmod(mode & ~stat.S_IRWXO)
            return
    logger.warning("everybody on this machine may write into %s, which holds mail and credentials", folder)


class _Umask:
    """The process's umask, and how much stricter those who hold it want it: each gets what the strictest asks for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: list[int] = []
        self._before = 0

    @contextmanager
    def hold(self, mask: int) -> Iterator[None]:
        with self._lock:
            if not self._wanted:
                self._before = os.umask(_OF_OTHERS)
            self._wanted.append(mask)
            self._set()
        try:
            yield
        finally:
            with self._lock:
                self._wanted.remove(mask)
                self._set()

    def _set(self) -> None:
        os.umask(reduce(int.__or__, self._wanted, self._before))


_umask = _Umask()


@contextmanager
def made_like(path: Path) -> Iterator[None]:
    """Files that a library makes meanwhile, and nobody can be asked to make in another way, give others no more rights than this
    one does; none where it does not exist. It is the whole process's umask, so other threads' files are as private."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
    with _umask.hold(_OF_OTHERS & ~mode):
        yield
