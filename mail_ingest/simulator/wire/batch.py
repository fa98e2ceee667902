"""Batches: many calls in one multipart request.

Format: https://developers.google.com/workspace/gmail/api/guides/batch . The answer to each part carries its Content-ID
with `response-` in front, otherwise byte for byte as it came: clients put spaces and plus signs into it.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.service import Request, Response

PATHS = frozenset({"/batch", "/batch/gmail/v1"})
MAX_CALLS = 100
_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_NOT_INHERITED = ("content-", "host", "transfer-encoding", "connection", "accept-encoding")


@dataclass(slots=True)
class InnerCall:
    """One call of a batch."""

    content_id: str | None
    request: Request


def parse_batch(request: Request) -> list[InnerCall]:
    """The calls of a batch, in order; raises the 400 for the whole of it when it is malformed or too long."""
    match = _BOUNDARY.search(request.headers.get("content-type", ""))
    if match is None:
        raise errors.invalid("Missing boundary in multipart request.", "badRequest")
    delimiter = b"--" + (match[1] or match[2]).encode("latin-1")
    sections = (b"\r\n" + request.body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).split(b"\r\n" + delimiter)
    parts = [section.removeprefix(b"\r\n") for section in sections[1:] if not section.startswith(b"--")]
    if len(parts) > MAX_CALLS:
        raise errors.invalid(
            f"Inner request count exceeds the limit. Received: {len(parts)}, Limit: {MAX_CALLS}", "badRequest"
        )
    if not parts:
        raise errors.invalid("Failed to parse batch request, error: 0 items.", "badRequest")
    inherited = {name: value for name, value in request.headers.items() if not name.startswith(_NOT_INHERITED)}
    return [_inner_call(part, inherited) for part in parts]


def _inner_call(part: bytes, inherited: dict[str, str]) -> InnerCall:
    outer, _, inner = part.partition(b"\r\n\r\n")
    head, _, body = inner.partition(b"\r\n\r\n")
    line, _, header_block = head.lstrip(b"\r\n").partition(b"\r\n")
    words = line.decode("latin-1").split()
    if len(words) < 2:
        raise errors.invalid("Failed to parse batch request, error: invalid request line.", "badRequest")
    path, _, query = words[1].partition("?")
    if "://" in path:
        path = "/" + path.split("/", 3)[3]
    headers = {**inherited, **_headers(header_block)}
    request = Request(words[0].upper(), unquote(path), query, headers, body.rstrip(b"\r\n"))
    return InnerCall(_headers(outer).get("content-id"), request)


def _headers(block: bytes) -> dict[str, str]:
    found = {}
    for line in block.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def batch_answer(calls: Sequence[InnerCall], answers: Sequence[Response], *, reverse: bool, lose_one: bool) -> Response:
    """The multipart answer; a 200 whatever its parts say."""
    boundary = f"batch_{secrets.token_urlsafe(24)}"
    pairs = list(zip(calls, answers, strict=True))
    if lose_one:
        pairs.pop()
    if reverse:
        pairs.reverse()
    pieces = [_part(boundary, call.content_id, answer) for call, answer in pairs]
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return Response(200, body, f"multipart/mixed; boundary={boundary}")


def _part(boundary: str, content_id: str | None, answer: Response) -> bytes:
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if content_id is not None:
        bracketed = content_id.startswith("<")
        lines.append(f"Content-ID: {'<' if bracketed else ''}response-{content_id[1:] if bracketed else content_id}")
    lines += ["", f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
    if answer.body:
        lines.append(f"Content-Type: {answer.content_type}")
    lines += [f"{name.title()}: {value}" for name, value in answer.headers]
    lines += [f"Content-Length: {len(answer.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body + b"\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
