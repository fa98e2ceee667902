"""The short text that Gmail shows beside a subject: HTML-escaped, on one line, about 200 characters."""

import html
import re
from collections import OrderedDict

from mail_ingest.simulator.mail import mime
from mail_ingest.simulator.mail.state import MailboxState

_LENGTH = 200
_TAG = re.compile(r"<(style|script|head|title)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_SPACE = re.compile(r"\s+")


def snippet_text(text: str) -> str:
    """Cut at a word and escaped as in recorded answers (`&#39;` for an apostrophe)."""
    line = _SPACE.sub(" ", text).strip()
    if len(line) > _LENGTH:
        line = line[:_LENGTH].rsplit(" ", 1)[0]
    return html.escape(line, quote=True).replace("&#x27;", "&#39;")


def text_of_message(message: mime.Parsed) -> str:
    """The readable text: the first plain part, else the first HTML part without its tags."""
    html_text = ""
    for _, part in mime.walk(message):
        if not mime.is_inline_text(part):
            continue
        text = mime.text_of(part)
        if part.get_content_subtype() == "plain" and text.strip():
            return text
        if part.get_content_subtype() == "html" and not html_text:
            html_text = html.unescape(_TAG.sub(" ", text))
    return html_text


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
