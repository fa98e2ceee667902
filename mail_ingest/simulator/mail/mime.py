"""Reading MIME the tolerant way: parts, their numbers, their text, and headers on one line.

Bad mail never raises: unknown charsets and broken encodings are read as well as they can be.
"""

import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser, HeaderParser
from email.policy import compat32

Parsed = Message
"""A message or part as the standard library parses it."""

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]*")


def parse(raw: bytes) -> Parsed:
    return BytesParser(policy=compat32).parsebytes(raw)


def parse_headers(raw: bytes) -> Parsed:
    """The headers alone, without looking at the body."""
    head = _END_OF_HEADERS.split(raw, maxsplit=1)[0]
    return HeaderParser(policy=compat32).parsestr(head.decode("utf-8", "surrogateescape"), headersonly=True)


def header_list(message: Parsed) -> list[dict[str, str]]:
    return [{"name": name, "value": decoded(str(value))} for name, value in message.raw_items()]


def decoded(value: str) -> str:
    """A header value on one line, encoded words decoded, invalid bytes replaced."""
    text = _FOLD.sub(" ", value).strip()
    if "=?" in text:
        text = _encoded_words(text)
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _encoded_words(text: str) -> str:
    try:
        pieces = [
            piece if isinstance(piece, str) else _to_text(piece, charset or "ascii")
            for piece, charset in decode_header(text)
        ]
    except (ValueError, LookupError):
        return text
    return "".join(pieces)


def _to_text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except (LookupError, UnicodeDecodeError, ValueError):
        return data.decode("utf-8", "replace")


def text_of(part: Parsed) -> str:
    """The text of a text part, in whatever charset it says or seems to be."""
    data = body_bytes(part)
    try:
        return data.decode("utf-8") if part.get_content_charset() is None else _declared(part, data)
    except UnicodeDecodeError:
        return data.decode("windows-1252", "replace")


def _declared(part: Parsed, data: bytes) -> str:
    return _to_text(data, str(part.get_content_charset()))


def body_bytes(part: Parsed) -> bytes:
    """A leaf's bytes with the transfer encoding undone."""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def filename(part: Parsed) -> str:
    try:
        name = part.get_filename()
    except (ValueError, LookupError, TypeError):
        return ""
    return decoded(name) if name else ""


def is_inline_text(part: Parsed) -> bool:
    """Text to show, not a file."""
    return (
        part.get_content_maintype() == "text" and not filename(part) and part.get_content_disposition() != "attachment"
    )


def children(part: Parsed) -> list[Parsed]:
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def walk(part: Parsed, part_id: str = "") -> Iterator[tuple[str, Parsed]]:
    """Every part with its part id: the root's is empty, its children are 0, 1, ..., theirs 0.0, 0.1, ..."""
    yield part_id, part
    for number, child in enumerate(children(part)):
        yield from walk(child, f"{part_id}.{number}" if part_id else str(number))


def handed_out(part: Parsed) -> bytes:
    """The bytes a client gets for a part, inline or by attachment id: text to show as UTF-8, files as they are."""
    if is_inline_text(part):
        return text_of(part).encode("utf-8", "replace")
    if part.get_content_type() == "message/rfc822" and children(part):
        return children(part)[0].as_bytes()
    return body_bytes(part)
