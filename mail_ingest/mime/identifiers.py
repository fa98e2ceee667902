"""Message-ID, In-Reply-To, References, Content-ID."""

from __future__ import annotations

import re

from mail_ingest.mime.defects import Defect

MAX_REFERENCES = 5_000

_BRACKETED = re.compile(r"<([^<>]+)>")
_SPACE = re.compile(r"\s+")


def parse_message_id(value: str, defects: set[Defect]) -> str | None:
    """The identifier with its angle brackets and without white space; as written when it has no brackets."""
    found = _BRACKETED.search(value)
    if found is None or _SPACE.search(found[1]):
        defects.add("bad-message-id")
    if found is None:
        return value.strip() or None
    return f"<{_SPACE.sub('', found[1])}>"


def parse_references(value: str) -> tuple[str, ...]:
    """The identifiers in order, oldest first as senders write them; at most MAX_REFERENCES, the last ones.

    Text between them (old In-Reply-To headers have names and dates) is left out. Without any brackets, the words
    that look like identifiers.
    """
    found = [f"<{_SPACE.sub('', inner)}>" for inner in _BRACKETED.findall(value)]
    if not found:
        found = [word for word in value.split() if "@" in word]
    return tuple(found[-MAX_REFERENCES:])


def content_id(value: str) -> str:
    """A Content-ID without its brackets."""
    return value.strip().removeprefix("<").removesuffix(">").strip()
