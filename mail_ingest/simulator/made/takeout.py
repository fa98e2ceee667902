"""Reads a Google Takeout mbox: ids, threads and labels are in it.

Form, from a real export: `From <decimal message id>@xxx <date>`, then `X-GM-THRID` (decimal thread id) and
`X-Gmail-Labels` (display names, comma-separated, quoted where needed, RFC 2047-encoded and folded where not ASCII).
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mail_ingest.simulator.made.files import unquoted
from mail_ingest.simulator.mail import ids, mime

_SEPARATOR = re.compile(rb"From (\d+)@xxx ")
_FIELD = re.compile(rb"^(X-GM-THRID|X-Gmail-Labels):((?:[^\r\n]|\r?\n[ \t])*)\r?\n", re.MULTILINE | re.IGNORECASE)

SYSTEM_NAMES = {
    "inbox": "INBOX",
    "sent": "SENT",
    "draft": "DRAFT",
    "drafts": "DRAFT",
    "spam": "SPAM",
    "trash": "TRASH",
    "starred": "STARRED",
    "important": "IMPORTANT",
    "unread": "UNREAD",
    "chat": "CHAT",
    "category personal": "CATEGORY_PERSONAL",
    "category social": "CATEGORY_SOCIAL",
    "category promotions": "CATEGORY_PROMOTIONS",
    "category updates": "CATEGORY_UPDATES",
    "category forums": "CATEGORY_FORUMS",
}
"""System labels of an English account; exports of other accounts use other names."""

WITHOUT_LABEL = frozenset({"archived", "opened"})


@dataclass(frozen=True, slots=True)
class TakeoutMessage:
    """One message of an export."""

    number: int
    thread_id: int
    label_names: tuple[str, ...]
    raw: bytes
    """Without the two fields that Takeout added."""

    @property
    def date_ms(self) -> int:
        """Arrival time, which the id carries."""
        return self.number >> ids.RANDOM_BITS


def is_takeout(path: Path) -> bool:
    with path.open("rb") as lines:
        return _SEPARATOR.match(lines.readline()) is not None


def iter_takeout(path: Path) -> Iterator[TakeoutMessage]:
    """The messages of an export in file order (newest first in real ones); splits at Takeout's own From lines alone."""
    number = 0
    lines: list[bytes] = []
    with path.open("rb") as export:
        for line in export:
            match = _SEPARATOR.match(line)
            if match is None:
                lines.append(line)
                continue
            if number:
                yield _message(number, b"".join(lines))
            number, lines = int(match[1]), []
    if number:
        yield _message(number, b"".join(lines))


def _message(number: int, raw: bytes) -> TakeoutMessage:
    message = unquoted(raw)
    head, blank, body = message.partition(b"\r\n\r\n") if b"\r\n\r\n" in message else message.partition(b"\n\n")
    fields = {name.lower(): value for name, value in _FIELD.findall(head + b"\n")}
    kept = _FIELD.sub(b"", head + b"\n").rstrip(b"\r\n")
    return TakeoutMessage(
        number,
        int(fields.get(b"x-gm-thrid", str(number).encode())),
        label_names(fields.get(b"x-gmail-labels", b"").decode("latin-1")),
        kept + blank + body,
    )


def label_names(value: str) -> tuple[str, ...]:
    """Display names out of an `X-Gmail-Labels` field: decoded first, then split at commas outside quotes."""
    text = mime.decoded(value).replace("\\'", "'")
    rows = list(csv.reader([text], skipinitialspace=True))
    return tuple(name.strip() for name in rows[0] if name.strip()) if rows else ()
