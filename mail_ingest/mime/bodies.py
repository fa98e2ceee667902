"""Which parts are the body, and what they say; everything else is an attachment.

A reader sees the parts of a mixed message one after the other, and of alternatives the one that suits: for text the
plain ones, for HTML the richest. A text part is shown unless it is declared an attachment, or has a file name and
is not the first of its container.
"""

from __future__ import annotations

from dataclasses import dataclass

from mail_ingest.mime.charsets import declared_in_html, decode
from mail_ingest.mime.defects import Defect
from mail_ingest.mime.readable import render
from mail_ingest.mime.structure import Part
from mail_ingest.mime.transfer import decode_transfer


@dataclass(slots=True)
class _Shown:
    """A text part on the screen."""

    part: Part
    is_html: bool
    text: str


@dataclass(slots=True)
class Bodies:
    """What of one message is shown, and what is not."""

    plain: list[_Shown]
    """What someone who prefers plain text reads, in order; HTML where there is nothing else."""
    html: list[_Shown]
    charsets: tuple[str, ...]
    attached: list[Part]
    """Leaves and attached messages that are not shown, in order; not what is inside attached messages."""

    @property
    def starts_plain(self) -> bool:
        return bool(self.plain) and not self.plain[0].is_html

    def text(self, defects: set[Defect]) -> str | None:
        """All there is to read, HTML rendered in its place; None when nothing is shown."""
        if not self.plain:
            return None
        return "\n".join([render(shown.text, defects) if shown.is_html else shown.text for shown in self.plain])

    def html_source(self) -> str | None:
        return "\n".join([shown.text for shown in self.html]) if self.html else None


def read_bodies(root: Part, defects: set[Defect]) -> Bodies:
    return _Reader(defects).read(root)


class _Reader:
    def __init__(self, defects: set[Defect]) -> None:
        self.defects = defects
        self.charsets: dict[str, None] = {}
        self.leaves: list[Part] = []
        self.blank: set[int] = set()

    def read(self, root: Part) -> Bodies:
        plain, rich = self._show(root, first=True, container="")
        html = [shown for shown in rich if shown.is_html]
        # A blank alternative that was passed over is nothing to attach.
        seen = {id(shown.part) for shown in (*plain, *html)} | self.blank
        attached = [part for part in self.leaves if id(part) not in seen]
        return Bodies(plain, html, tuple(self.charsets), attached)

    def _show(self, part: Part, *, first: bool, container: str) -> tuple[list[_Shown], list[_Shown]]:
        """What a part shows to someone who prefers plain text, and to someone who prefers HTML."""
        if not part.is_multipart:
            self.leaves.append(part)
            if not _is_shown(part, first, container):
                return [], []
            shown = [self._text(part)]
            return shown, shown
        views = [
            self._show(child, first=number == 0, container=part.content_type)
            for number, child in enumerate(part.children)
        ]
        if part.content_type == "multipart/alternative":
            return _plainest([plain for plain, _ in views]), _richest([rich for _, rich in views])
        return [s for plain, _ in views for s in plain], [s for _, rich in views for s in rich]

    def _text(self, part: Part) -> _Shown:
        data = decode_transfer(part.source[part.start : part.end], part.encoding, self.defects)
        label = charset_of(part)
        hint = next(iter(self.charsets), "")
        if label:
            self.charsets.setdefault(label)
        is_html = part.content_type == "text/html"
        if is_html and not data.isascii():
            hint = declared_in_html(data) or hint
        text = decode(data, label, self.defects, hint)
        if not text.strip():
            self.blank.add(id(part))
        return _Shown(part, is_html, _with_line_feeds(text) if "\r" in text else text)


def charset_of(part: Part) -> str:
    """The charset a part declares, lower case, without what is not a name."""
    words = part.parameters.get("charset", "").lower().replace("'", " ").replace('"', " ").split()
    return words[0] if words else ""


def _is_shown(part: Part, first: bool, container: str) -> bool:
    if part.disposition == "attachment":
        return False
    if part.content_type not in ("text/plain", "text/html"):
        # Of a message that is one text of some other kind, the text is better than nothing.
        return not container and part.content_type.startswith("text/") and part.content_type != "text/calendar"
    return first or (not part.filename and container != "multipart/related")


def _plainest(views: list[list[_Shown]]) -> list[_Shown]:
    """The alternatives without HTML, unless all of them are blank."""
    chosen = [shown for view in views if not any(s.is_html for s in view) for shown in view]
    if any(shown.text.strip() for shown in chosen):
        return chosen
    return next((view for view in views if any(s.is_html for s in view)), chosen)


def _richest(views: list[list[_Shown]]) -> list[_Shown]:
    """The alternatives with HTML; the plain ones when there is none."""
    chosen = [shown for view in views if any(s.is_html for s in view) for shown in view]
    return chosen or [shown for view in views for shown in view]


def _with_line_feeds(text: str) -> str:
    """Text whose lines end in line feeds, whatever ended them."""
    unix = text.replace("\r\n", "\n")
    if "\r" not in unix:
        return unix
    # A return is doubled where "=0D" was encoded before a line end; the rest stand alone.
    return unix.replace("\r\n", "\n").replace("\r", "\n")
