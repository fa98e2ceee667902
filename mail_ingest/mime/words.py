"""RFC 2047: encoded words in header values."""

from __future__ import annotations

import binascii
import re

from mail_ingest.mime.charsets import decode
from mail_ingest.mime.defects import Defect
from mail_ingest.mime.transfer import decode_base64

# Spaces inside the text are against the standard and common.
_WORD = re.compile(r"=\?([^?\s*]{1,64})(?:\*[^?\s]{0,64})?\?([bBqQ])\?([^?]*)\?=")
_LINE_BREAKS = re.compile(r"[\r\n]+[ \t]*")


def decode_words(value: str, defects: set[Defect] | None = None) -> str:
    """The value with every encoded word decoded, inside quotes and in the middle of text too.

    Neighbours in the same charset are joined as bytes before they become text: senders cut words in the middle
    of a character. What does not decode stays as written. The result is one line.
    """
    if "=?" not in value:
        return value
    found: set[Defect] = set()
    out: list[str] = []
    pending: list[bytes] = []
    charset = ""
    position = 0
    for word in _WORD.finditer(value):
        between = value[position : word.start()]
        adjacent = position > 0 and (not between or between.isspace())
        if not (adjacent and word[1].lower() == charset):
            out.append(_text(pending, charset, found))
            pending = []
        if not adjacent:
            out.append(between)
        charset = word[1].lower()
        pending.append(_bytes(word[2], word[3], found))
        position = word.end()
    out.append(_text(pending, charset, found))
    out.append(value[position:])
    if defects is not None and found:
        defects.add("bad-encoded-word")
    return one_line("".join(out))


def one_line(text: str) -> str:
    """The text with line breaks turned into spaces; what headers say is one line, whatever was encoded into them."""
    return _LINE_BREAKS.sub(" ", text) if "\n" in text or "\r" in text else text


def _bytes(encoding: str, text: str, found: set[Defect]) -> bytes:
    data = text.encode("utf-8")
    if encoding in "bB":
        return decode_base64(data, found)
    return binascii.a2b_qp(data, header=True)


def _text(pending: list[bytes], charset: str, found: set[Defect]) -> str:
    return decode(b"".join(pending), charset, found) if pending else ""
