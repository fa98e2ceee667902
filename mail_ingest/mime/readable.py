"""HTML -> text that a person can read: paragraphs, lists, table rows, quotes and link targets kept.

The layout is resiliparse's (lexbor inside). This module prepares the document for it and tidies the result: hidden
elements go, quotes get their marks, and HTML built to make a parser explode is not parsed at all. Styles are
honoured where they stand on the element; rules in a style sheet are not.
"""

from __future__ import annotations

import re

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLParserException

from mail_ingest.mime.defects import Defect
from mail_ingest.mime.tangled import cut_tags, is_tangled

MAX_HTML_CHARS = 4_000_000

_DEEPEST_QUOTE = 10

_HIDDEN = [
    "title",
    "[hidden]",
    *(f'[style*="display{colon}none" i]' for colon in (":", ": ", " :", " : ")),
    *(f'[style*="visibility{colon}hidden" i]' for colon in (":", ": ", " :", " : ")),
]

# Private-use characters. They are cut out of the document first, so that in the text they are ours.
_OPEN, _CLOSE = "\ue000", "\ue001"
_QUOTE_START = re.compile(r"<(?:blockquote|BLOCKQUOTE)\b[^<>]*+>")
_OURS = re.compile(f"[{_OPEN}{_CLOSE}]")

# Outlook wraps the content of every cell in a paragraph, which would put each cell on a line of its own. At most
# four wrappers, so that a long row of end tags outside of a table is not read again from each of them.
_CELL_START = re.compile(r"(<[tT][dDhH]\b[^<>]*+>)(?:\s*+<(?:[pP]|[dD][iI][vV])\b[^<>]*+>){1,4}+")
_CELL_END = re.compile(r"(?:</(?:[pP]|[dD][iI][vV])>\s*+){1,4}+(?=</[tT][dDhH]>)")

_DATA_URI = re.compile(r"data:[^\s\"'<>]{500,}+")
_TARGET = re.compile(r" \(([^\s()]{0,2000})\)")
_INVISIBLE = re.compile("[\u00ad\u034f\u200b\u2060\ufeff]|\u200c(?=[\\s\u00a0\u034f\u200b-\u200d])")


def html_to_text(html: str) -> str:
    """Readable text of an HTML document or fragment; "" when nothing in it is visible.

    Lines end in "\\n", with at most one blank line in a row. Cells of a row are separated by a tab, a link's
    target follows its text in parentheses unless it is the text, quoted lines begin with "> ".
    """
    return render(html.encode("utf-8", "replace").decode("utf-8"), set())


def render(html: str, defects: set[Defect]) -> str:
    """The same for text without surrogates, with the defect "tangled-html" where the layout had to be given up.

    At most the first MAX_HTML_CHARS are read, embedded images not counted.
    """
    if _OPEN in html or _CLOSE in html:
        html = _OURS.sub("", html)
    if len(html) > MAX_HTML_CHARS:
        html = _DATA_URI.sub("", html)
        if len(html) > MAX_HTML_CHARS:
            defects.add("long-html")
            html = html[:MAX_HTML_CHARS]
    if is_tangled(html):
        defects.add("tangled-html")
        return _tidy(cut_tags(html))
    if "<td" in html or "<TD" in html:
        html = _CELL_END.sub("", _CELL_START.sub(r"\1", html))
    quote_ends = [end for end in ("</blockquote", "</BLOCKQUOTE") if end in html]
    if quote_ends:
        html = _QUOTE_START.sub(rf"\g<0>{_OPEN}", html)
        for end in quote_ends:
            html = html.replace(end, _CLOSE + end)
    try:
        text = extract_plain_text(html, preserve_formatting=True, alt_texts=True, links=True, skip_elements=_HIDDEN)
    except HTMLParserException:
        defects.add("tangled-html")
        return _tidy(cut_tags(html))
    text = _without_plain_targets(text)
    return _tidy(_prefix_quotes(text) if quote_ends else text)


def _without_plain_targets(text: str) -> str:
    """Drops the targets that say nothing: of links whose text is the target, of images without a text, empty ones."""

    def keep(found: re.Match[str]) -> str:
        if found.start() == 0 or text[found.start() - 1].isspace():
            return ""
        target = found[1].removeprefix("mailto:").rstrip("/")
        before = text[max(0, found.start() - len(target) - 1) : found.start()].rstrip("/")
        return "" if before.endswith(target.partition("://")[2] or target) else found[0]

    return _TARGET.sub(keep, text)


def _prefix_quotes(text: str) -> str:
    depth = 0
    begins = False
    lines: list[str] = []
    for line in text.split("\n"):
        visible = _OURS.sub("", line) if _OPEN in line or _CLOSE in line else line
        depth += line.count(_OPEN)
        prefix = "> " * min(depth, _DEEPEST_QUOTE)
        if visible.strip():
            lines.append(prefix + visible)
            begins = False
        elif line != visible:
            begins = True
            if _CLOSE in line:
                while lines and lines[-1] == prefix:
                    lines.pop()
        elif not begins:
            lines.append(prefix)
        depth = max(0, depth - line.count(_CLOSE))
    return "\n".join(lines)


def _tidy(text: str) -> str:
    if not text.isascii():
        text = _INVISIBLE.sub("", text).replace("\u00a0", " ")
    if "\t\t" in text:
        text = re.sub("\t\t+", "\t", text)
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return re.sub("\n\n\n+", "\n\n", text).strip("\n")
