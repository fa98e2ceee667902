"""The bytes of a message -> the tree of its parts, as offsets into the bytes; only attached messages are decoded.

Written for this package because no library at hand keeps the order of headers, numbers the parts as Gmail does and
stays linear on hostile mail; what the parts contain is decoded by libraries. Each level of nesting costs one search
for its boundary, levels are capped at MAX_DEPTH, and so the whole is linear in the size of the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mail_ingest.mime.defects import Defect
from mail_ingest.mime.headers import Headers, split_headers
from mail_ingest.mime.identifiers import content_id
from mail_ingest.mime.parameters import parse_parameters
from mail_ingest.mime.transfer import decode_transfer

MAX_DEPTH = 50
MAX_PARTS = 5_000

# Attached messages are decoded once to look inside, and once more for each message around them. Together they may
# have this many times the bytes of the whole.
MAX_UNPACKED = 3

# What may follow a delimiter on its line: nothing, or after white space anything (RFC 2046, 5.1.1).
_LINE_END = re.compile(rb"(?:[ \t][^\r\n]*+)?(?:\r\n|\n|\r|\Z)")
_TYPE = re.compile(r"[^\s/;,]++/[^\s/;,]++")
_TOKEN = re.compile(r"[^\s;(]*")

_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_ENCODINGS = frozenset({"", "7bit", "8bit", "base64", "quoted-printable"})
_NO_PARAMETERS: Mapping[str, str] = {}


@dataclass(slots=True)
class Part:
    """One node of the tree: its headers, read, and where its body is."""

    part_id: str
    headers: Headers
    content_type: str
    parameters: Mapping[str, str]
    disposition: str
    filename: str
    content_id: str
    encoding: str
    source: bytes
    start: int
    end: int
    children: list[Part] = field(default_factory=list)
    content: bytes | None = None
    """Decoded already; an attached message."""

    @property
    def is_multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        return self.content_type in _MESSAGES


class Splitter:
    """Splits one message; holds what is counted across its parts."""

    def __init__(self, raw: bytes, defects: set[Defect]) -> None:
        self.raw = raw
        self.defects = defects
        self.parts = 0
        self.unpacked = 0

    def split(self) -> Part:
        return self._part(self.raw, 0, len(self.raw), "", "text/plain", 0)

    def _part(self, source: bytes, start: int, end: int, part_id: str, default: str, depth: int) -> Part:
        self.parts += 1
        headers, body = split_headers(source, start, end, self.defects)
        part = self._read(headers, source, body, end, part_id, default)
        if part.is_multipart:
            if depth >= MAX_DEPTH:
                self.defects.add("nesting-too-deep")
                part.content_type = "application/octet-stream"
            else:
                self._multipart(part, depth)
        elif part.is_message:
            self._message(part, depth)
        return part

    def _read(self, headers: Headers, source: bytes, start: int, end: int, part_id: str, default: str) -> Part:
        first = headers.first
        kind, parameters = default, _NO_PARAMETERS
        if value := first.get("content-type"):
            kind, parameters = parse_parameters(value, self.defects)
            if _TYPE.fullmatch(kind) is None:
                self.defects.add("bad-content-type")
                kind, parameters = _repaired_type(value)
        way, filename = "", ""
        if value := first.get("content-disposition"):
            way, described = parse_parameters(value, self.defects)
            filename = described.get("filename", "")
        encoding = first.get("content-transfer-encoding", "").lower()
        if encoding not in _ENCODINGS and (token := _TOKEN.match(encoding)) is not None:
            encoding = token[0]
        return Part(
            part_id=part_id,
            headers=headers,
            content_type=kind,
            parameters=parameters,
            disposition=way,
            filename=filename or parameters.get("name", ""),
            content_id=content_id(first.get("content-id", "")),
            encoding=encoding,
            source=source,
            start=start,
            end=end,
        )

    def _multipart(self, part: Part, depth: int) -> None:
        source, start, end = part.source, part.start, part.end
        boundary = part.parameters.get("boundary", "")
        if boundary.endswith((" ", "\t")) and source.find(f"--{boundary}".encode(), start, end) < 0:
            boundary = boundary.rstrip()
        if not boundary.strip():
            self.defects.add("missing-boundary")
            part.content_type = "text/plain"
            return
        delimiter = b"--" + boundary.encode("utf-8", "replace")
        ranges = self._ranges(source, start, end, delimiter)
        if ranges is None and part.encoding in ("base64", "quoted-printable") and self._may_unpack(end - start):
            source = decode_transfer(source[start:end], part.encoding, self.defects)
            ranges = self._ranges(source, 0, len(source), delimiter)
            if ranges is not None:
                self.defects.add("encoded-multipart")
        if ranges is None:
            self.defects.add("boundary-not-found")
            part.content_type = "text/plain"
            return
        default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
        prefix = part.part_id + "." if part.part_id else ""
        for number, (first, last) in enumerate(ranges):
            if self.parts >= MAX_PARTS:
                self.defects.add("too-many-parts")
                break
            part.children.append(self._part(source, first, last, f"{prefix}{number}", default, depth + 1))

    def _ranges(self, source: bytes, start: int, end: int, delimiter: bytes) -> list[tuple[int, int]] | None:
        """Offsets of the parts between the delimiter lines; None when no part begins.

        Two delimiter lines without anything between count as one.
        """
        ranges: list[tuple[int, int]] = []
        begun = -1
        position = start
        while (found := source.find(delimiter, position, end)) >= 0:
            position = found + len(delimiter)
            if found > start and source[found - 1] not in b"\r\n":
                continue
            closing = source.startswith(b"--", position, end)
            line_end = _LINE_END.match(source, position + 2 if closing else position, end)
            if line_end is None:
                continue
            if 0 <= begun < found:
                last = found - 1
                if last > begun and source[last] == 10 and source[last - 1] == 13:
                    last -= 1
                ranges.append((begun, last))
            if closing:
                return ranges if begun >= 0 else None
            position = begun = line_end.end()
            if len(ranges) >= MAX_PARTS:
                self.defects.add("too-many-parts")
                return ranges
        if begun < 0:
            return None
        self.defects.add("missing-close-boundary")
        if begun < end:
            ranges.append((begun, end))
        return ranges

    def _message(self, part: Part, depth: int) -> None:
        """Opens an attached message, unless it lies too deep or would unpack to too much."""
        if depth >= MAX_DEPTH or not self._may_unpack(part.end - part.start):
            self.defects.add("nesting-too-deep")
            return
        part.content = decode_transfer(part.source[part.start : part.end], part.encoding, self.defects)
        if part.content and self.parts < MAX_PARTS:
            inner = f"{part.part_id}.0" if part.part_id else "0"
            part.children.append(self._part(part.content, 0, len(part.content), inner, "text/plain", depth + 1))

    def _may_unpack(self, size: int) -> bool:
        """Takes `size` from the byte budget, if it is there; the first is always allowed."""
        if self.unpacked and self.unpacked + size > MAX_UNPACKED * len(self.raw):
            return False
        self.unpacked += size
        return True


def _repaired_type(value: str) -> tuple[str, Mapping[str, str]]:
    """Type and parameters of a Content-Type that is not in order; text/plain when no type leads it."""
    found = _TYPE.match(value)
    if found is None:
        return "text/plain", _NO_PARAMETERS
    return found[0].lower(), parse_parameters(f"; {value[found.end() :]}", set())[1]
