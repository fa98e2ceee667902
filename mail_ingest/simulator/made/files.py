"""Reads messages out of files: folders, tar archives and mbox files, one message at a time."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_ENVELOPE = re.compile(rb"From [^\r\n:]*\S+[^\r\n]*\r?\n")
_MBOX_LINE = re.compile(rb"From \S+.*\d{4}\s*$")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


def iter_messages(path: Path) -> Iterator[bytes]:
    """Every message of a folder and those below it, a tar archive, an mbox or a single file, always in one order."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield from iter_messages(file)
    elif tarfile.is_tarfile(path):
        yield from _iter_tar(path)
    elif is_mbox(path):
        with path.open("rb") as lines:
            yield from _iter_mbox(lines)
    else:
        yield without_envelope(path.read_bytes())


def is_mbox(path: Path) -> bool:
    """True when the file is a mailbox: an mbox suffix, or a From line with a date and another one further down."""
    with path.open("rb") as lines:
        if not _MBOX_LINE.match(lines.readline()):
            return False
        return path.suffix == ".mbox" or any(_MBOX_LINE.match(line) for line in lines)


def without_envelope(raw: bytes) -> bytes:
    """The message without the From line that old archives keep before the first header."""
    match = _ENVELOPE.match(raw)
    return raw[match.end() :] if match else raw


def _iter_tar(path: Path) -> Iterator[bytes]:
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield without_envelope(content.read())


def _iter_mbox(lines: BinaryIO) -> Iterator[bytes]:
    """Splits at From lines that follow a blank line."""
    message: list[bytes] = []
    after_blank = True
    for line in lines:
        if after_blank and _MBOX_LINE.match(line):
            if message:
                yield unquoted(b"".join(message))
            message = []
        else:
            message.append(line)
        after_blank = not line.strip()
    if message:
        yield unquoted(b"".join(message))


def unquoted(message: bytes) -> bytes:
    """Takes one `>` from quoted From lines, and the blank line that ends a message in an mbox."""
    body = message.removesuffix(b"\r\n") if message.endswith(b"\n\r\n") else message
    body = body.removesuffix(b"\n") if body.endswith(b"\n\n") else body
    return _QUOTED_FROM.sub(rb"\1", body)
