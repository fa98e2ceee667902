"""Partial answers: `fields=a,b(c,d/e)` masks.

Syntax: https://developers.google.com/workspace/gmail/api/guides/performance#partial-response
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mail_ingest.simulator.wire import errors

_TOKEN = re.compile(r"[\w$.@-]+|\*|[(),/]")

Mask = Mapping[str, "Mask"]
"""Names to keep, each with what to keep below it; an empty mapping keeps everything below."""


@lru_cache(maxsize=1_024)
def parse_mask(text: str) -> Mask:
    """Raises 400 for a mask that is not well formed."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise _bad(text)
    mask, end = _selection(tokens, 0, text)
    if end != len(tokens):
        raise _bad(text)
    return mask


def apply_mask(value: Any, mask: Mask) -> Any:
    """The part of an answer that a mask selects; lists are filtered element by element."""
    if not mask or ("*" in mask and not mask["*"]):
        return value
    if isinstance(value, list):
        return [apply_mask(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: apply_mask(below, mask.get(name, mask.get("*", {})))
        for name, below in value.items()
        if name in mask or "*" in mask
    }


def _selection(tokens: list[str], at: int, text: str) -> tuple[dict[str, Any], int]:
    selected: dict[str, Any] = {}
    while True:
        at = _path(tokens, at, selected, text)
        if at < len(tokens) and tokens[at] == ",":
            at += 1
            continue
        return selected, at


def _path(tokens: list[str], at: int, into: dict[str, Any], text: str) -> int:
    if at >= len(tokens) or tokens[at] in "(),/":
        raise _bad(text)
    below = into.setdefault(tokens[at], {})
    at += 1
    if at < len(tokens) and tokens[at] == "/":
        return _path(tokens, at + 1, below, text)
    if at < len(tokens) and tokens[at] == "(":
        inner, at = _selection(tokens, at + 1, text)
        if at >= len(tokens) or tokens[at] != ")":
            raise _bad(text)
        below.update(inner)
        at += 1
    return at


def check_mask(mask: Mask, schema: Mapping[str, Any], text: str) -> None:
    """Raises 400 for names that the method's answer never has. A schema maps names to the schema below or to None."""
    for name, below in mask.items():
        if name == "*":
            continue
        if name not in schema:
            raise errors.invalid(f"Invalid field selection {name}", "invalidParameter")
        inner = schema[name]
        if below and inner is None:
            raise errors.invalid(f"Invalid field selection {text}", "invalidParameter")
        if inner is not None:
            check_mask(below, inner, text)


def _bad(text: str) -> errors.ApiError:
    return errors.invalid(f"Invalid field selection {text}", "invalidParameter")
