"""Small messages for tests: a test says what is special about one, the rest is ordinary."""

from __future__ import annotations

import base64
from collections.abc import Iterable


def message(body: bytes = b"Hello.\n", *headers: str | bytes, line_end: bytes = b"\n") -> bytes:
    """A message of these header lines; From and Subject are added when none is given."""
    lines = [line.encode() if isinstance(line, str) else line for line in headers]
    if not lines:
        lines = [b"From: Ann <ann@example.com>", b"Subject: Hello"]
    return line_end.join([*lines, b"", body])


def part(content_type: str, body: bytes, *headers: str) -> bytes:
    return message(body, f"Content-Type: {content_type}", *headers)


def attachment(name: str, body: bytes, content_type: str = "application/pdf") -> bytes:
    return part(
        content_type,
        base64.encodebytes(body),
        f'Content-Disposition: attachment; filename="{name}"',
        "Content-Transfer-Encoding: base64",
    )


def multipart(kind: str, parts: Iterable[bytes], *headers: str, boundary: str = "=-bound") -> bytes:
    """A multipart, as a message or as a part of another one (then with a boundary of its own)."""
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\n" + each + b"\n" for each in parts) + mark + b"--\n"
    return message(body, f'Content-Type: multipart/{kind}; boundary="{boundary}"', *headers)
