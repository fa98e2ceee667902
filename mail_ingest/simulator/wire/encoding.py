"""base64url and JSON as they stand in answers."""

from typing import Any

import orjson
import pybase64


def base64url(data: bytes, *, padded: bool) -> str:
    """URL-safe base64; Gmail's answers exist with and without the padding."""
    text = pybase64.b64encode_as_string(data, b"-_")
    return text if padded else text.rstrip("=")


def from_base64url(text: str) -> bytes:
    """Accepts both alphabets, with and without padding; ValueError for anything else."""
    clean = text.strip().replace("+", "-").replace("/", "_").rstrip("=")
    return pybase64.b64decode(clean + "=" * (-len(clean) % 4), b"-_", validate=True)


def to_json(value: Any, *, pretty: bool) -> bytes:
    """Google's JSON: two spaces of indent and a newline at the end unless `prettyPrint=false`."""
    if pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(value)
