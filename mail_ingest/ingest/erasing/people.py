"""Finds an erased person's address in texts and mail, and takes it out, with the name that stands beside it.

Addresses are compared as written but for case: `jane+news@example.com` and `j.ane@gmail.com` are others than
`jane@example.com` and `jane@gmail.com`. Who asks need not know the address: a function tells whether one is erased, such
as by a keyed hash, so what is found in stored rows today is found in new mail as well.

Found are `jane@example.com`, in links `jane%40example.com`, in HTML `jane&#64;example.com`, and in the return paths of lists
`bounce+jane=example.com@lists.example`. Not found: addresses in pictures or in compressed attachments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from mail_ingest import mime
from mail_ingest.mime.charsets import decode
from mail_ingest.sources.stored import NOT_CONTENT, StoredMessage, Values
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_HTML, MESSAGE_RECIPIENTS, MESSAGES, Table

#: What stands where an address or a name was.
ERASED = "[erased]"
#: The address's at sign, as texts write it, and the equals sign that return paths of lists put in its place.
AT_SIGNS = ("@", "%40", "&#64;", "&#x40;", "=")
_SIGN = re.compile("|".join(AT_SIGNS), re.IGNORECASE)
_BACKWARDS = re.compile(r"[\w.!#$&'*+/?^`{|}~=%-]+")
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)+")
#: Longest local part that is looked at: texts without spaces cost no more than others.
_LONGEST_LOCAL = 100
#: Characters that may stand before an address without being part of it, though addresses may have them.
_BEFORE = re.compile(r"[=/?&!#$*^`{|}~'%]+(?:3d|2b)?", re.IGNORECASE)
_BEFORE_WITHIN = re.compile(r"[=/?&!#$*^`{|}~'%+-]+")
#: A name in front of an address in angle brackets: quoted, or words that begin with a capital.
_NAMED = re.compile(
    r"(?:[\"“][^\"”\n]{1,100}[\"”]|(?:[^\W\d_a-z][\w.'’-]*[ \t]+){1,4})?[ \t]*(?:<|&lt;|\[)(?:mailto:)?$"
)
#: A name alone is replaced only where it is longer than a first name.
_LEAST_NAME = 6


class ErasedPeople:
    """Who is erased. `is_erased` gets addresses in lower case."""

    def __init__(self, is_erased: Callable[[str], bool]) -> None:
        self._is_erased = lru_cache(maxsize=50_000)(is_erased)

    def is_erased(self, address: str) -> bool:
        return self._is_erased(address.strip().lower())

    def mentioned_in(self, text: str) -> bool:
        """Whether a text holds an erased address."""
        return next(self._spans(text), None) is not None

    def mentioned_at(self, text: str, position: int) -> bool:
        """Whether an erased address stands at this place of a text."""
        return any(start <= position < stop for start, stop in self._spans(text))

    def wrote(self, message: StoredMessage) -> bool:
        """Whether an erased person is among the authors of a message."""
        authors = {row["address"] for row in message.recipients if row["kind"] == "from"}
        authors.add(message.message.get("from_address"))
        return any(self.is_erased(author) for author in authors if author)

    def take_out_of(self, message: StoredMessage, names: Collection[str] = ()) -> StoredMessage | None:
        """What of a message may stay: None where an erased person wrote it; otherwise the message without their address,
        without the names that its headers or `names` pair with it, and without its place in the raw archive."""
        if self.wrote(message):
            return None
        if not any(self.mentioned_in(text) for text in message.texts()):
            return message
        known = _worth_replacing({*names, *self.names_in(message)})
        recipients = tuple(row for row in message.recipients if not self.is_erased(row["address"] or ""))
        cleaned = StoredMessage(
            {**self._cleaned(MESSAGES, message.message, known), "raw_pack": None},
            tuple(self._cleaned(MESSAGE_RECIPIENTS, row, known) for row in recipients),
            tuple(self._cleaned(ATTACHMENTS, row, known) for row in message.attachments),
            None if message.html is None else self._cleaned(MESSAGE_HTML, message.html, known),
        )
        author = cleaned.message
        emptied = {name: None for name in ("sender_address", "reply_to_address") if author[name] == ERASED}
        return replace(cleaned, message={**author, **emptied})

    def names_in(self, message: StoredMessage) -> set[str]:
        """The names that a message's headers pair with erased addresses."""
        return {row["name"] for row in message.recipients if row["name"] and self.is_erased(row["address"] or "")}

    def mentioned_in_mail(self, raw: bytes) -> bool:
        """Whether the bytes of a message hold an erased address, whatever they are encoded in."""
        return any(self.mentioned_in(text) for text in texts_to_read(raw))

    def wrote_mail(self, raw: bytes) -> bool:
        """Whether an erased person is among the authors that the bytes of a message name."""
        return any(self.is_erased(author.address) for author in mime.parse(raw).from_)

    def without(self, text: str, names: tuple[str, ...] = ()) -> str:
        """A text without erased addresses, the names in front of them, and `names`."""
        parts, end = [], 0
        for start, stop in self._spans(text):
            named = _NAMED.search(text, max(end, start - 140), start)
            begin = named.start() if named is not None else start
            closing = 0
            if named is not None:
                closing = 4 if text.startswith("&gt;", stop) else int(text[stop : stop + 1] in (">", "]"))
            parts += [text[end:begin], ERASED]
            end = stop + closing
        text = "".join(parts) + text[end:] if parts else text
        for name in names:
            text = _name_pattern(name).sub(ERASED, text)
        return text

    def _cleaned(self, table: Table, row: Values, names: tuple[str, ...]) -> Values:
        changed: dict[str, Any] = {}
        for column in table.columns:
            value = row[column.name]
            if not isinstance(value, str) or not value or column.name in NOT_CONTENT:
                continue
            if column.kind == "json":
                # not in the JSON itself: what is taken out may begin or end at an escaped quote
                changed[column.name] = orjson.dumps(self._inside(orjson.loads(value), names)).decode()
            else:
                changed[column.name] = self.without(value, names)
        return {**row, **changed}

    def _inside(self, value: Any, names: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            return self.without(value, names)
        return [self._inside(item, names) for item in value] if isinstance(value, list) else value

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where erased addresses stand, in order."""
        end = 0
        for sign in _SIGN.finditer(text):
            domain = _DOMAIN.match(text, sign.end())
            local = _BACKWARDS.match(text[max(end, sign.start() - _LONGEST_LOCAL) : sign.start()][::-1])
            if domain is None or local is None:
                continue
            name = domain[0].rstrip(".-_")
            length = self._length_of_local(local[0][::-1], name, is_within=sign[0] == "=")
            if length:
                end = sign.end() + len(name)
                yield sign.start() - length, end

    def _length_of_local(self, local: str, domain: str, *, is_within: bool) -> int:
        """How many characters before the sign belong to an erased address; 0 where there is none."""
        before = _BEFORE_WITHIN if is_within else _BEFORE
        for begin in (0, *(cut.end() for cut in before.finditer(local))):
            name = local[begin:].lstrip("'.")
            if name and self.is_erased(f"{name}@{domain}"):
                return len(name)
        return 0


#: Without any of these, a message's bytes are its texts.
_ENCODED = re.compile(rb"base64|quoted-printable|=\?|utf-?(?:16|32|7)", re.IGNORECASE)
#: Attached messages within attached messages that are looked into.
_DEEPEST = 5


def texts_to_read(raw: bytes) -> Iterator[str]:
    """A message's bytes as text, and decoded where something of it is encoded. Raises whatever the parser may raise."""
    yield raw.decode("utf-8", "replace")
    if _ENCODED.search(raw) is not None:
        yield from texts_of_mail(raw)


def texts_of_mail(raw: bytes, depth: int = 0) -> Iterator[str]:
    """The texts of a message, decoded: headers, bodies, names and contents of attachments, attached messages included."""
    parsed = mime.parse(raw)
    for name, _ in parsed.headers:
        yield from parsed.header_all(name)
    for body in (parsed.body_text, parsed.body_html, parsed.text_from_html):
        if body:
            yield body
    for part in parsed.attachments:
        yield part.filename
        if part.content_type.startswith("message/") and part.in_message is None and depth < _DEEPEST:
            yield from texts_of_mail(part.content, depth + 1)
        elif part.content_type.startswith("text/") or part.content_type.endswith(("/json", "/xml", "/ics")):
            # as bodies are: what a sender names may be a codec that raises, or takes hours
            yield decode(part.content, part.charset, set())


def _worth_replacing(names: Collection[str]) -> tuple[str, ...]:
    """Names that tell a person from others, the longest first: of two words at least."""
    worth = {" ".join(name.split()) for name in names}
    return tuple(sorted((name for name in worth if len(name) >= _LEAST_NAME and " " in name), key=len, reverse=True))


@lru_cache(maxsize=256)
def _name_pattern(name: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in name.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
