"""The short text that Gmail shows beside a subject: HTML-escaped, on one line, about 200 characters."""

import html
import re
from collections import OrderedDict

from mail_ingest.simulator.mail import mime
from mail_ingest.simulator.mail.state import MailboxState

_LENGTH = 201
_LONGEST_WORD = 30
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_UNSEEN = re.compile(r"<(style|script|head|title)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(a|b|i|u|s|em|strong|span|font|small|big|code|sup|sub|wbr)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_WORD_START = re.compile(r"(?<![\w;&#])\w")
_SPACE = re.compile(r"\s+")


def snippet_text(text: str) -> str:
    """One line, escaped as in recorded answers (`&#39;` for an apostrophe), cut between words near 200 characters."""
    line = _SPACE.sub(" ", text).strip()
    escaped = ""
    for at, letter in enumerate(line):
        piece = _ESCAPES.get(letter, letter)
        if len(escaped) + len(piece) > _LENGTH:
            return escaped[: _last_boundary(escaped)].rstrip() if line[at - 1 : at + 1].isalnum() else escaped.rstrip()
        escaped += piece
    return escaped


def _last_boundary(escaped: str) -> int:
    """Where the last, unfinished word begins; the end when that word is very long."""
    words = _WORD_START.finditer(escaped, max(0, len(escaped) - _LONGEST_WORD))
    return max((match.start() for match in words), default=len(escaped))


def text_of_message(message: mime.Parsed) -> str:
    """The readable text: the first HTML part without its tags, else the first plain part.

    A recorded reply shows that HTML comes first: its snippet lacks the `>` marks of the plain part.
    """
    plain = ""
    for _, part in mime.walk(message):
        if not mime.is_inline_text(part):
            continue
        if part.get_content_subtype() == "html":
            visible = _INLINE_TAG.sub("", _UNSEEN.sub(" ", mime.text_of(part)))
            text = html.unescape(_TAG.sub(" ", visible))
            if text.strip():
                return text
        elif not plain.strip():
            plain = mime.text_of(part)
    return plain


class Snippets:
    """Snippets of one mailbox, kept for the messages that were asked for last."""

    def __init__(self, state: MailboxState, keep: int = 20_000) -> None:
        self._state = state
        self._keep = keep
        self._known: OrderedDict[int, str] = OrderedDict()

    def of(self, slot: int) -> str:
        known = self._known.get(slot)
        if known is None:
            preview = self._state.contents.preview(slot)
            if preview is None:
                preview = text_of_message(mime.parse(self._state.contents.raw(slot)))
            known = self._known[slot] = snippet_text(preview)
            if len(self._known) > self._keep:
                self._known.popitem(last=False)
        return known
