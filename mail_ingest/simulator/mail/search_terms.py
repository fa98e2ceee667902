"""The single operators of the search language, as tests of one message."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import getaddresses
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from mail_ingest.simulator.mail import mime
from mail_ingest.simulator.mail.labels import SYSTEM_LABEL_IDS
from mail_ingest.simulator.mail.snippets import text_of_message
from mail_ingest.simulator.mail.state import MailboxState

_PACIFIC = ZoneInfo("America/Los_Angeles")
_AGE = re.compile(r"(\d+)([dmyDMY])")
_SIZE = re.compile(r"(\d+)([kmKM]?)[bB]?")
_DAYS = {"d": 1, "m": 30, "y": 365}

PLACES = {
    "inbox": "INBOX",
    "spam": "SPAM",
    "trash": "TRASH",
    "sent": "SENT",
    "draft": "DRAFT",
    "drafts": "DRAFT",
    "chat": "CHAT",
    "chats": "CHAT",
    "starred": "STARRED",
    "unread": "UNREAD",
    "important": "IMPORTANT",
}


class Candidate:
    """One message under test; headers and text are read only when a term asks for them."""

    def __init__(self, state: MailboxState, slot: int) -> None:
        self._state = state
        self._slot = slot
        self.date_ms = state.table.dates[slot]
        self.label_ids = state.label_ids(slot)

    @cached_property
    def raw(self) -> bytes:
        return self._state.contents.raw(self._slot)

    @cached_property
    def _headers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in mime.parse_headers(self.raw).raw_items():
            found.setdefault(name.lower(), []).append(mime.decoded(str(value)))
        return found

    def header(self, name: str) -> str:
        return "\n".join(self._headers.get(name, ()))

    def addresses(self, *names: str) -> str:
        pairs = getaddresses([value for name in names for value in self._headers.get(name, ())])
        return "\n".join(f"{name} {address}" for name, address in pairs)

    @cached_property
    def file_names(self) -> list[str]:
        names = [mime.filename(part) for _, part in mime.walk(mime.parse(self.raw))]
        return [name for name in names if name]

    @cached_property
    def text(self) -> str:
        people = self.addresses("from", "to", "cc", "bcc")
        body = text_of_message(mime.parse(self.raw))
        return "\n".join((self.header("subject"), people, body, *self.file_names))


Predicate = Callable[[Candidate], bool]


def _contains(haystack: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", haystack, re.IGNORECASE) is not None


def label_slug(name: str) -> str:
    """How a label is written in `label:`: lower case, everything but letters and digits a dash."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-")


class Terms:
    """Builds tests for one mailbox at one moment."""

    def __init__(self, state: MailboxState, now_s: float, date_bounds: Literal["inclusive", "exclusive"]) -> None:
        self._state = state
        self._now_s = now_s
        self._margin_s = 0 if date_bounds == "inclusive" else 1

    def words(self, text: str) -> Predicate:
        return (lambda candidate: _contains(candidate.text, text)) if text else (lambda _: True)

    def bounds(self, operator: str, value: str) -> tuple[float | None, float | None]:
        """Inclusive bounds in epoch seconds of a date operator; (None, None) for anything else."""
        if operator in ("after", "newer"):
            moment = _moment(value)
            return (None, None) if moment is None else (moment + self._margin_s, None)
        if operator in ("before", "older"):
            moment = _moment(value)
            return (None, None) if moment is None else (None, moment - self._margin_s)
        if operator in ("newer_than", "older_than") and (age := _AGE.fullmatch(value)):
            moment = self._now_s - timedelta(days=int(age[1]) * _DAYS[age[2].lower()]).total_seconds()
            return (moment, None) if operator == "newer_than" else (None, moment)
        return None, None

    def operator(self, operator: str, value: str) -> Predicate:
        lowered = value.lower()
        if operator in ("from", "to", "cc", "bcc", "deliveredto"):
            names = {"to": ("to", "cc", "bcc"), "deliveredto": ("delivered-to",)}.get(operator, (operator,))
            return lambda candidate: _contains(candidate.addresses(*names), value)
        if operator == "subject":
            return lambda candidate: all(_contains(candidate.header("subject"), word) for word in value.split())
        if operator == "list":
            return lambda candidate: lowered in candidate.header("list-id").lower()
        if operator == "rfc822msgid":
            wanted = value.strip("<>")
            return lambda candidate: candidate.header("message-id").strip().strip("<>") == wanted
        if operator in ("larger", "smaller", "size"):
            return self._size(operator, value)
        if operator == "filename":
            return lambda candidate: any(lowered in name.lower() for name in candidate.file_names)
        if operator == "has":
            return _has(lowered)
        if operator in ("in", "is", "label", "category"):
            return self._place(operator, lowered)
        return self.words(f"{operator}:{value}")

    def _size(self, operator: str, value: str) -> Predicate:
        match = _SIZE.fullmatch(value)
        if match is None:
            return lambda _: False
        limit = int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[2].lower()]
        if operator == "smaller":
            return lambda candidate: len(candidate.raw) < limit
        return lambda candidate: len(candidate.raw) > limit

    def label_of(self, operator: str, value: str) -> str | None:
        """The one label that `in:`, `is:`, `label:` or `category:` asks for; None for everything else."""
        if operator == "category":
            return f"CATEGORY_{'PERSONAL' if value == 'primary' else value.upper()}"
        if operator not in ("in", "is", "label"):
            return None
        if value in PLACES:
            return PLACES[value]
        slug = label_slug(value)
        found = [label.id for label in self._state.labels.values() if label_slug(label.name) == slug]
        return found[0] if len(found) == 1 else None

    def _place(self, operator: str, value: str) -> Predicate:
        if value == "anywhere":
            return lambda _: True
        if operator == "is" and value == "read":
            return lambda candidate: "UNREAD" not in candidate.label_ids
        label_id = self.label_of(operator, value)
        if label_id is not None:
            return lambda candidate: label_id in candidate.label_ids
        slug = label_slug(value)
        several = {label.id for label in self._state.labels.values() if label_slug(label.name) == slug}
        return lambda candidate: not several.isdisjoint(candidate.label_ids)


def _has(value: str) -> Predicate:
    if value == "attachment":
        return lambda candidate: bool(candidate.file_names)
    if value == "userlabels":
        return lambda candidate: bool(candidate.label_ids - SYSTEM_LABEL_IDS)
    if value == "nouserlabels":
        return lambda candidate: not candidate.label_ids - SYSTEM_LABEL_IDS
    return lambda _: False


def _moment(value: str) -> float | None:
    """Epoch seconds of a date (midnight Pacific time) or of epoch seconds; None when it is neither."""
    if value.isascii() and value.isdigit() and len(value) > 4:
        return float(value)
    for pattern in ("%Y/%m/%d", "%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(value, pattern).replace(tzinfo=_PACIFIC).astimezone(UTC).timestamp()
        except ValueError:
            continue
    return None
