"""The header block of a message or part -> its fields in order, and where the body starts.

Names are kept as written. Values are unfolded and decoded: as UTF-8 (RFC 6532) where they are that, and otherwise
by the best guess for raw 8-bit text. Encoded words stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import itemgetter

from mail_ingest.mime.charsets import codecs_for, decode
from mail_ingest.mime.defects import Defect

MAX_HEADERS = 5_000
MAX_HEADER_CHARS = 1_000_000

_ORDINARY_BLOCK = 1_000_000
_NAMES = re.compile(r"[!-9;-~]++(?:\n[!-9;-~]++)*+")
_COLON = itemgetter(1)
_NEXT_FIELD = re.compile(r"\n(?![ \t])")
_NEXT_FIELD_CRLF = re.compile(r"\r\n(?![ \t])")
_FIELD = re.compile(rb"([!-9;-~]++)([ \t]*+):")
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)")
_ENVELOPE = (b"From ", b">From ")
_CHARSET = re.compile(rb"""charset\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})""", re.IGNORECASE)
_CHARSET_WITHIN = 65_536

# A header but for foreign characters in its name.
_MISNAMED = re.compile(rb"[^\s:]++[ \t]*+:")

# After a line that is no header, one of these shows that the headers go on.
_FAMILIAR = re.compile(
    rb"(?:x-[!-9;-~]++|arc-[!-9;-~]++|content-[!-9;-~]++|list-[!-9;-~]++|resent-[!-9;-~]++|received|return-path"
    rb"|delivered-to|from|to|cc|bcc|subject|date|message-id|in-reply-to|references|reply-to|sender|errors-to"
    rb"|mime-version|dkim-signature|authentication-results|received-spf|importance|precedence|status"
    rb"|organization|user-agent|mailing-list|auto-submitted|priority)[ \t]*+:",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Headers:
    """The fields of one part, in order, and by name."""

    fields: tuple[tuple[str, str], ...]
    names: list[str]
    """In lower case, one for each field."""
    first: dict[str, str]
    """The first value for each name in lower case."""

    def all(self, name: str) -> list[str]:
        """Every value for a name in lower case."""
        if self.names.count(name) < 2:
            return [self.first[name]] if name in self.first else []
        return [value for key, (_, value) in zip(self.names, self.fields, strict=True) if key == name]


def split_headers(source: bytes, start: int, end: int, defects: set[Defect]) -> tuple[Headers, int]:
    """Headers of the part at source[start:end], and the offset at which its body starts.

    Reads no further than it must: a part without headers costs one look at its first line.
    """
    if _FIELD.match(source, start, end) is not None:
        stop, body = _blank_line(source, start, end)
        if stop - start <= _ORDINARY_BLOCK:
            headers = _ordinary(source[start:stop])
            if headers is not None:
                return headers, body
    return _line_by_line(source, start, end, defects)


def _blank_line(source: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the header block ends and where the body starts, if all its lines end as the first one does."""
    first = source.find(b"\n", start, end)
    blank = b"\n\r\n" if first > start and source[first - 1] == 13 else b"\n\n"
    found = source.find(blank, start, end)
    return (found, found + len(blank)) if found >= 0 else (end, end)


def _ordinary(block: bytes) -> Headers | None:
    """Headers of a UTF-8 block in which every line is a header or continues one and all lines end alike; else None."""
    if b"\0" in block or b"\x1b" in block:
        return None
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return None
    line_end, next_field = ("\r\n", _NEXT_FIELD_CRLF) if "\r" in text else ("\n", _NEXT_FIELD)
    text = text.removesuffix("\n").removesuffix("\r")
    is_folded = "\n " in text or "\n\t" in text
    parts = [line.partition(":") for line in (next_field.split(text) if is_folded else text.split(line_end))]
    joined = "\n".join([name for name, _, _ in parts])
    if len(parts) > MAX_HEADERS or not all(map(_COLON, parts)) or _NAMES.fullmatch(joined) is None:
        return None
    names = joined.split("\n")
    values = [value.strip() for _, _, value in parts]
    if is_folded:
        values = [value.replace(line_end, "") if "\n" in value else value for value in values]
    all_values = "".join(values)
    if "\r" in all_values or "\n" in all_values or len(names) != len(values):
        return None
    return _indexed(names, values, joined.lower().split("\n"))


def _indexed(names: list[str], values: list[str], lower: list[str]) -> Headers:
    return Headers(
        fields=tuple(zip(names, values, strict=True)),
        names=lower,
        first=dict(zip(reversed(lower), reversed(values), strict=True)),
    )


def _line_by_line(source: bytes, start: int, end: int, defects: set[Defect]) -> tuple[Headers, int]:
    """The same for blocks with damage: raw 8-bit text, foreign lines, a missing blank line, lone carriage returns."""
    names: list[str] = []
    pieces: list[list[bytes]] = []
    size = 0
    position = start
    while position < end:
        line = _LINE.match(source, position, end)
        if line is None:
            break
        text = line[0].rstrip(b"\r\n")
        if line[0].endswith(b"\r"):
            defects.add("bare-carriage-returns")
        if not text:
            position = line.end()
            break
        field = _FIELD.match(text)
        if text[0] in b" \t" and names:
            size += len(text)
            if size <= 4 * MAX_HEADER_CHARS:
                pieces[-1].append(text)
            else:
                defects.add("long-header")
        elif field is not None:
            if len(names) >= MAX_HEADERS:
                defects.add("too-many-headers")
                position = _blank_line(source, position, end)[1]
                break
            size = len(text)
            names.append(field[1].decode("ascii"))
            pieces.append([text[field.end() :]])
        elif position == start and text.startswith(_ENVELOPE):
            defects.add("mbox-envelope")
        elif _MISNAMED.match(text) or _FAMILIAR.match(source, line.end(), end) is not None:
            defects.add("bad-header-line")
        else:
            if names:
                defects.add("missing-blank-line")
            break
        position = line.end()
    values = _decoded([b"".join(piece).strip() for piece in pieces], source, defects)
    return _indexed(names, values, [name.lower() for name in names]), position


def _decoded(values: list[bytes], source: bytes, defects: set[Defect]) -> list[str]:
    """Values as text; the charset of raw 8-bit values that are not UTF-8 is guessed once for all of them."""
    hint: str | None = None
    out = []
    for data in values:
        text = _utf8(data) if b"\x1b" not in data else None
        if text is None:
            defects.add("raw-8bit-header")
            hint = _charset_hint(source) if hint is None else hint
            text = decode(data, "", set(), hint=hint)
        if "\0" in text:
            defects.add("nul-character")
            text = text.replace("\0", "")
        if len(text) > MAX_HEADER_CHARS:
            defects.add("long-header")
            text = text[:MAX_HEADER_CHARS]
        out.append(text)
    return out


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _charset_hint(source: bytes) -> str:
    """A charset that the message declares anywhere near its top, for headers that declare none."""
    for label in _CHARSET.findall(source, 0, _CHARSET_WITHIN):
        name: str = label.decode("ascii", "replace")
        if codecs_for(name)[:1] not in ((), ("utf_8",), ("cp1252",), ("ascii",)):
            return name
    return ""
