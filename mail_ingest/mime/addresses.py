"""Address headers: mailboxes, groups, comments, encoded words, and the mistakes people make in them."""

from __future__ import annotations

import re

from mail_ingest.mime.defects import Defect
from mail_ingest.mime.message import Address
from mail_ingest.mime.words import decode_words

MAX_ADDRESSES = 10_000

# The common shapes: "Name" <local@domain>, Name <local@domain>, local@domain; then a comma or the end.
_PLAIN = re.compile(
    r"""[\s,]*+
    (?: (?: "((?:[^"\\]|\\.)*+)" | ([^"(),:;<>@\[\]\\]*+) ) \s*+ < ([^\s"(),:;<>@\[\]\\]++ @ [^\s"(),:;<>@\[\]\\]++) >
      | ([^\s"(),:;<>@\[\]\\]++ @ [^\s"(),:;<>@\[\]\\]++) )
    \s*+ (?:,|\Z)""",
    re.VERBOSE,
)
_TOKEN = re.compile(
    r"""\s++ | (?P<quoted>"(?:[^"\\]|\\.)*+") | (?P<angle><(?:"(?:[^"\\]|\\.)*+"|[^<>"])*+>)
      | (?P<literal>\[[^\[\]\s]*+\]) | (?P<mark>[(),:;]) | (?P<atom>[^\s"(),:;<>\[]++) | (?P<stray>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_COMMENT = re.compile(r"\([^()]*+\)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ROUTE = re.compile(r"\s*+(?:@[^:]*+:|mailto:|smtp:)", re.IGNORECASE)
_LONGEST_GLUED = 1_000
_WRAPPED = re.compile(r"""\s*+([^<>]*+)<([^\s<>@]++@[^\s<>@]++)>\s*+""")
_BARE = re.compile(r"[^\s<>@,;]++@[^\s<>@,;]++")


def parse_addresses(value: str, defects: set[Defect]) -> tuple[Address, ...]:
    """Every mailbox of an address header in order, at most MAX_ADDRESSES; linear in the length of the value."""
    found: list[Address] = []
    position = 0
    while len(found) < MAX_ADDRESSES and (plain := _PLAIN.match(value, position)) is not None:
        quoted, words, bracketed, bare = plain.groups()
        if bracketed is None:
            found.append(Address("", bare))
        else:
            name = words if quoted is None else _ESCAPE.sub(r"\1", quoted)
            found.append(Address(_name(name, defects), bracketed))
        position = plain.end()
        if position == len(value):
            return tuple(found)
    rest = value[position:]
    if rest and not rest.isspace():
        _Reader(found, defects).read(rest)
    if len(found) > MAX_ADDRESSES:
        defects.add("too-many-addresses")
        del found[MAX_ADDRESSES:]
    return tuple(found)


def _name(text: str, defects: set[Defect]) -> str:
    return decode_words(" ".join(text.split()) if text else "", defects)


class _Reader:
    """Reads the shapes that are not plain, token by token, one mailbox at a time."""

    def __init__(self, found: list[Address], defects: set[Defect]) -> None:
        self.found = found
        self.defects = defects
        self.group = ""
        self.in_group = False
        self.group_is_empty = False
        self._start()

    def _start(self) -> None:
        self.words: list[str] = []
        self.has_at = False
        self.spaced = False
        self.comments: list[str] = []
        self.angle: str | None = None

    def read(self, value: str) -> None:
        position = 0
        while position < len(value) and len(self.found) <= MAX_ADDRESSES:
            token = _TOKEN.match(value, position)
            if token is None:
                break
            position = token.end()
            kind, text = token.lastgroup, token[0]
            if kind is None:
                self.spaced = True
            elif kind == "mark" and text == "(":
                position = self._comment(value, position)
            elif kind == "mark" and text in ",;":
                self._finish()
                if text == ";":
                    self._end_group()
            elif kind == "mark" and text == ":":
                self._colon()
            elif kind == "angle":
                if self.angle is not None:
                    self._finish()
                self.angle = text[1:-1]
            elif kind != "stray" and text != ")":
                self._word(_ESCAPE.sub(r"\1", text[1:-1]) if kind == "quoted" else text, kind == "quoted")
            elif text in '<"':
                self.defects.add("bad-address")
                if text == '"':
                    # It is never closed; without this, each later quote would be followed to the end in vain.
                    value = value.replace('"', " ")
        self._finish()
        self._end_group()

    def _word(self, text: str, quoted: bool) -> None:
        """Adds a word, or glues it to the last one when both are pieces of one address."""
        touching = bool(self.words) and not self.spaced
        split_at = bool(self.words) and (self.words[-1].endswith("@") or text.startswith("@"))
        self.has_at = self.has_at or "@" in text
        if (touching or (split_at and not quoted)) and len(self.words[-1]) < _LONGEST_GLUED:
            self.words[-1] += text
        else:
            self.words.append(text)
        self.spaced = False

    def _comment(self, value: str, position: int) -> int:
        """Reads a comment, which may hold others, up to its end; gives the position after it."""
        start, depth = position, 1
        for mark in _COMMENT_MARK.finditer(value, position):
            depth += {"(": 1, ")": -1}.get(mark[0], 0)
            if depth == 0:
                self.comments.append(value[start : mark.start()])
                self.spaced = True
                return mark.end()
        self.defects.add("bad-address")
        self.comments.append(value[start:])
        return len(value)

    def _colon(self) -> None:
        if [word.lower() for word in self.words[:2]] == ["mailto"]:
            self._start()
            return
        if self.in_group or self.angle is not None or self.has_at:
            self.defects.add("bad-address")
            return
        self.group = _name(" ".join(self.words), self.defects)
        self.in_group = self.group_is_empty = True
        self._start()

    def _end_group(self) -> None:
        if self.in_group and self.group_is_empty:
            self.found.append(Address("", "", self.group))
        self.group = ""
        self.in_group = self.group_is_empty = False

    def _finish(self) -> None:
        """Ends the mailbox read so far, if there is one."""
        address = None if self.angle is None else _without_route(self.angle)
        words = self.words
        if address is None and len(words) > 1 and all("@" in word for word in words):
            # Nothing but addresses, with spaces between them where commas should be.
            self.found.extend(Address("", word, self.group) for word in words[:-1])
            del words[:-1]
            self.defects.add("bad-address")
        if address is None:
            at = next((number for number in range(len(words) - 1, -1, -1) if "@" in words[number]), None)
            if at is not None:
                address = words.pop(at)
            elif len(words) == 1 and "=?" not in words[0]:
                address = words.pop()
        name = _name(" ".join(words) or " ".join(self.comments), self.defects)
        if not address:
            name, address = _inside(name)
        if name or address:
            if "@" not in address:
                self.defects.add("bad-address")
            self.found.append(Address(name, address, self.group))
            self.group_is_empty = False
        self._start()


def _without_route(angle: str) -> str:
    if "(" in angle:
        angle = _COMMENT.sub("", angle)
    route = _ROUTE.match(angle)
    return angle[route.end() if route is not None else 0 :].strip()


def _inside(name: str) -> tuple[str, str]:
    """The address inside a decoded name: senders encode the whole mailbox as one word."""
    if (wrapped := _WRAPPED.fullmatch(name)) is not None:
        return wrapped[1].strip().strip('"'), wrapped[2]
    return ("", name) if _BARE.fullmatch(name) else (name, "")
