"""Content-Transfer-Encoding: bytes on the wire -> the bytes that were meant."""

from __future__ import annotations

import binascii
import re

import pybase64

from mail_ingest.mime.defects import Defect

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(byte for byte in range(256) if byte not in _ALPHABET)
_RUN = re.compile(rb"[^=]+")
_MAX_RUNS = 3_000_000
_SPACE_AFTER_SOFT_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit", "none", "plain"})
_UU = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})


def decode_transfer(data: bytes, encoding: str, defects: set[Defect]) -> bytes:
    """Decoded content; `encoding` in lower case. An unknown encoding leaves the bytes as they are."""
    if encoding in _IDENTITY:
        return data
    if encoding == "quoted-printable":
        return decode_quoted_printable(data, defects)
    if encoding == "base64":
        return decode_base64(data, defects)
    if encoding in _UU:
        return _decode_uu(data, defects)
    defects.add("unknown-encoding")
    return data


def decode_base64(data: bytes, defects: set[Defect]) -> bytes:
    """Base64 in whatever state: line ends are skipped silently, other foreign characters with a defect."""
    try:
        decoded = pybase64.b64decode(data)
    except ValueError:
        return _repair_base64(data, defects)
    length = len(data) - data.count(b"\n") - data.count(b"\r")
    padding = data.count(b"=")
    sound = length % 4 == 0 and padding <= 2 and len(decoded) == length // 4 * 3 - padding
    return decoded if sound else _repair_base64(data, defects)


def _repair_base64(data: bytes, defects: set[Defect]) -> bytes:
    """Decodes run by run, a run ending in padding.

    Some encoders pad every line, so a second run counts when it is sound base64. Otherwise it is a footer that a
    mailing list put after the encoded text, and is dropped.
    """
    out = bytearray()
    for number, run in enumerate(_RUN.finditer(data)):
        if number >= _MAX_RUNS:
            defects.add("bad-base64")
            break
        if run[0].isspace():
            continue
        clean = run[0].translate(None, _NOT_BASE64)
        if len(clean) != len(run[0].translate(None, b"\r\n" if out else b"\r\n \t")):
            defects.add("dirty-base64")
            if out:
                break
        if len(clean) % 4 and (run.end() == len(data) or len(clean) % 4 == 1):
            defects.add("bad-base64")
        if len(clean) % 4 == 1:
            clean = clean[:-1]
        if clean:
            out += pybase64.b64decode(clean + b"=" * (-len(clean) % 4))
    return bytes(out)


def decode_quoted_printable(data: bytes, defects: set[Defect]) -> bytes:
    """Quoted-printable; escapes that are none stay as text, with a defect."""
    if b"=" not in data:
        return data
    decoded = binascii.a2b_qp(data)
    # An escape loses two bytes in decoding, a soft line break two or, with CRLF, three; anything else loses less.
    lost = len(data) - len(decoded)
    escapes = 2 * data.count(b"=")
    if lost == escapes or lost == escapes + data.count(b"=\r\n"):
        return decoded
    if b"= " in data or b"=\t" in data:
        return _decode_padded_breaks(data, defects)
    defects.add("dirty-quoted-printable")
    return decoded


def _decode_padded_breaks(data: bytes, defects: set[Defect]) -> bytes:
    """Quoted-printable in which transport has put spaces after soft line breaks."""
    clean = _SPACE_AFTER_SOFT_BREAK.sub(b"=", data)
    if clean == data:
        defects.add("dirty-quoted-printable")
        return binascii.a2b_qp(data)
    return decode_quoted_printable(clean, defects)


def _decode_uu(data: bytes, defects: set[Defect]) -> bytes:
    out = []
    begun = False
    for line in data.splitlines():
        if not begun:
            begun = line.startswith(b"begin ")
        elif line.strip() == b"end":
            break
        elif line.strip():
            try:
                out.append(binascii.a2b_uu(line))
            except ValueError:
                defects.add("bad-uuencode")
    return b"".join(out)
