"""Mail of other people, for the tests that need real mess: found beside the repository, never part of it.

Only file names and counts of it may reach a test's output.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

CORPORA = ("sa-easy-ham-2", "sa-spam-2-third", "usrp-users")
SUITES = (
    "mime4j",
    "mikel-mail",
    "cpython-test-email",
    "nodemailer-mailparser",
    "spamscope-mail-parser",
    "ponymail-foal",
)


def shared_data() -> Path | None:
    """The folder named by MAIL_INGEST_SHARED_DATA, or `shared/data` in or above the repository's folder."""
    named = os.environ.get("MAIL_INGEST_SHARED_DATA")
    if named:
        return Path(named) if Path(named).is_dir() else None
    root = Path(__file__).resolve().parents[2]
    found = (folder / "shared" / "data" for folder in (root, *root.parents))
    return next((folder for folder in found if folder.is_dir()), None)


needs_public_mail = pytest.mark.skipif(shared_data() is None, reason="skip: no public mail on this machine")


@lru_cache(maxsize=len(CORPORA) + len(SUITES))
def _unpacked(archive: str) -> dict[str, bytes]:
    folder = shared_data()
    if folder is None:
        return {}
    with tarfile.open(folder / archive) as tar:
        files = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
        return {name: file.read() for name, file in files if file is not None}


def suite(name: str) -> dict[str, bytes]:
    """Every file of a suite of difficult messages, expected results among them, by name."""
    return _unpacked(f"mime/{name}.tar.gz")


def difficult_messages() -> Iterator[tuple[str, bytes]]:
    for name in SUITES:
        for path, data in sorted(suite(name).items()):
            if path.endswith((".msg", ".eml")) or "/msg_" in path:
                yield path, data


def real_messages() -> Iterator[tuple[str, bytes]]:
    for name in CORPORA:
        yield from sorted(_unpacked(f"real-mail/{name}.tar.gz").items())


def manifest() -> Iterator[dict[str, Any]]:
    """What another parser says of each real message."""
    folder = shared_data()
    if folder is None:
        return
    for name in CORPORA:
        with gzip.open(folder / "real-mail" / f"{name}.manifest.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
