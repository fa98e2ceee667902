"""RFC 2047: encoded words in header values."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.header import decode_header


def decode_words(value: str) -> str:
    """The value with every encoded word decoded; anything that does not decode stays as written."""
    if "=?" not in value:
        return value
    try:
        chunks = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    out = []
    for chunk, charset in chunks:
        if isinstance(chunk, str):
            out.append(chunk)
            continue
        try:
            out.append(chunk.decode(charset or "utf-8"))
        except (LookupError, ValueError):
            out.append(chunk.decode("utf-8", "replace"))
    return "".join(out)
