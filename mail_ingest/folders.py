"""Folders that nobody else can look into: what lies in them is mail, and what opens it."""

from __future__ import annotations

import logging
import stat
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)


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
