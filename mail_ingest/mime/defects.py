"""The words for what is wrong with a message. They are stored, so a word once given keeps its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Defect = Literal[
    "bad-address",
    "bad-base64",
    "bad-content-type",
    "bad-date",
    "bad-encoded-word",
    "bad-header-line",
    "bad-message-id",
    "bad-uuencode",
    "bare-carriage-returns",
    "boundary-not-found",
    "date-without-zone",
    "dirty-base64",
    "dirty-quoted-printable",
    "encoded-multipart",
    "long-header",
    "long-html",
    "mbox-envelope",
    "missing-blank-line",
    "missing-boundary",
    "missing-close-boundary",
    "nesting-too-deep",
    "nul-character",
    "raw-8bit-header",
    "repeated-header",
    "tangled-html",
    "too-many-addresses",
    "too-many-headers",
    "too-many-parts",
    "undeclared-charset",
    "undecodable-bytes",
    "unknown-charset",
    "unknown-encoding",
    "wrong-charset",
]

DEFECTS: Mapping[Defect, str] = MappingProxyType(
    {
        "bad-address": "an entry of an address header has no address in it, or one without @",
        "bad-base64": "base64 ends in the middle of a group; the whole bytes before are kept",
        "bad-content-type": "a Content-Type without type/subtype was read as text/plain",
        "bad-date": "the Date header is not a date",
        "bad-encoded-word": "an encoded word (RFC 2047) in a header is damaged, or its charset wrong or unknown",
        "bad-header-line": "a line among the headers is no header and was skipped",
        "bad-message-id": "Message-ID has no angle brackets, or white space inside them",
        "bad-uuencode": "uuencoded content has lines that do not decode; they were skipped",
        "bare-carriage-returns": "header lines end in carriage returns alone",
        "boundary-not-found": "a multipart in which its boundary never occurs was read as text",
        "date-without-zone": "the Date header names no time zone, or an unknown one; it was read as UTC",
        "dirty-base64": "base64 has foreign characters in it; they were skipped",
        "dirty-quoted-printable": "quoted-printable has escapes that are none; they were kept as text",
        "encoded-multipart": "a multipart as a whole is base64 or quoted-printable",
        "long-header": "a header value was cut at MAX_HEADER_CHARS",
        "long-html": "text was made from the first MAX_HTML_CHARS of HTML only",
        "mbox-envelope": "the first line was an mbox envelope and was dropped",
        "missing-blank-line": "no blank line between headers and body",
        "missing-boundary": "a multipart that names no boundary was read as text",
        "missing-close-boundary": "the last boundary of a multipart is missing; the message may be cut off",
        "nesting-too-deep": "parts deeper than MAX_DEPTH, or messages in messages past the byte budget, stayed closed",
        "nul-character": "NUL characters were dropped from text",
        "raw-8bit-header": "a header has raw 8-bit text that is not UTF-8; its charset was guessed",
        "repeated-header": "a header that may occur once occurs again; the first counts",
        "tangled-html": "HTML nested so deep that a layout would be dear; its tags were just cut out",
        "too-many-addresses": "the addresses of one header after the first MAX_ADDRESSES were dropped",
        "too-many-headers": "the headers of one part after the first MAX_HEADERS were dropped",
        "too-many-parts": "parts after the first MAX_PARTS were dropped",
        "undeclared-charset": "8-bit text without a declared charset; it was guessed",
        "undecodable-bytes": "bytes that are no text in the charset were replaced by U+FFFD",
        "unknown-charset": "a charset name that nobody knows; the charset was guessed",
        "unknown-encoding": "a Content-Transfer-Encoding that nobody knows; the content was taken as it is",
        "wrong-charset": "the declared charset does not fit the bytes; another one that fits was used",
    }
)
"""Every defect a parsed message can carry, and what it says."""
