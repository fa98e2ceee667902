"""Messages uploaded as they are: simple, multipart and resumable.

Protocols: https://developers.google.com/workspace/gmail/api/guides/uploads
"""

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.service import Request, Response

_PREFIX = re.compile(r"^(?:/resumable)?/upload(?=/gmail/)")
_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


def is_upload(path: str) -> bool:
    return _PREFIX.match(path) is not None


@dataclass(slots=True)
class _Session:
    """A resumable upload on its way."""

    request: Request
    received: bytearray = field(default_factory=bytearray)


class Uploads:
    """Turns uploads into plain calls whose message stands beside the body."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def take(self, request: Request, url: str) -> Request | Response:
        """The call to answer, or, amid a resumable upload, the answer itself. Raises 400 for what is not understood."""
        query = dict(pair.partition("=")[::2] for pair in request.query.split("&"))
        if "upload_id" in query:
            return self._continue(request, query["upload_id"])
        kind = query.get("uploadType", "media")
        path = _PREFIX.sub("", request.path)
        if kind == "media":
            return _call(request, path, {}, request.body)
        if kind == "multipart":
            resource, media = _multipart(request)
            return _call(request, path, resource, media)
        if kind == "resumable":
            upload_id = secrets.token_urlsafe(32)
            self._sessions[upload_id] = _Session(_call(request, path, _json(request.body), b""))
            location = f"{url}{request.path}?{request.query}&upload_id={upload_id}"
            return Response(200, b"", headers=[("location", location), ("x-guploader-uploadid", upload_id)])
        raise errors.bad_value("upload_type", "type.googleapis.com/google.api.UploadType", kind)

    def _continue(self, request: Request, upload_id: str) -> Request | Response:
        session = self._sessions.get(upload_id)
        if session is None:
            raise errors.not_found()
        declared = _RANGE.fullmatch(request.headers.get("content-range", ""))
        session.received += request.body
        total = declared[3] if declared is not None else str(len(session.received))
        if total != str(len(session.received)):
            headers = [("range", f"bytes=0-{len(session.received) - 1}")] if session.received else []
            return Response(308, b"", headers=headers)
        del self._sessions[upload_id]
        session.request.media = bytes(session.received)
        return session.request


def _call(request: Request, path: str, resource: dict[str, Any], media: bytes) -> Request:
    return Request(request.verb, path, request.query, request.headers, orjson.dumps(resource), media)


def _multipart(request: Request) -> tuple[dict[str, Any], bytes]:
    match = _BOUNDARY.search(request.headers.get("content-type", ""))
    if match is None:
        raise errors.invalid("Missing boundary in multipart request.", "badRequest")
    sections = (b"\n" + request.body).split(b"\n--" + (match[1] or match[2]).encode("latin-1"))
    bodies = [
        re.split(rb"\r?\n\r?\n", section, maxsplit=1)[1].removesuffix(b"\r")
        for section in sections[1:]
        if re.search(rb"\r?\n\r?\n", section)
    ]
    if len(bodies) != 2:
        raise errors.invalid("Multipart uploads have a metadata part and a media part.", "badRequest")
    return _json(bodies[0]), bodies[1]


def _json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise errors.invalid("Invalid JSON payload received. Unexpected token.", "parseError") from None
    return parsed if isinstance(parsed, dict) else {}
