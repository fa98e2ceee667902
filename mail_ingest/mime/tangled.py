"""HTML that would cost far more than its length: told without parsing it, and read without a parser.

By the rules of HTML, each unclosed formatting element is copied into every later paragraph, an end tag may search
all open elements, and an attribute is compared with all before it in its tag. A few hundred kilobytes built for
that cost a parser gigabytes or minutes.
"""

from __future__ import annotations

import re
from html import unescape
from itertools import accumulate

_SMALL = 10_000
_MAX_OPEN_TIMES_TAGS = 30_000_000
_MAX_COPIES = 1_000_000
_MAX_ATTRIBUTES = 4_000

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p"}
_FORMATTING = {
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
}  # fmt: skip
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)")
_BLOCKS = {"p", "div", "br", "tr", "li", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "hr"}
_SILENT = {"script", "style", "title", "template", "noscript"}
_CHARACTER_REFERENCE = re.compile(r"&#?[0-9A-Za-z]{12,}+")
_SPACE = re.compile(r"[^\S\n]++")


def is_tangled(html: str) -> bool:
    """Whether parsing might cost much more than the length of the document allows."""
    if len(html) <= _SMALL:
        return False
    tags = [(slash, name.lower()) for slash, name in _TAG.findall(html)]
    depth = _deepest([-1 if slash else 1 for slash, name in tags if name not in _VOID])
    copied = _deepest([-1 if slash else 1 for slash, name in tags if name in _FORMATTING])
    if depth * len(tags) > _MAX_OPEN_TIMES_TAGS or copied * len(tags) > _MAX_COPIES:
        return True
    # Attributes: the pieces between the tags, whatever is quoted in them.
    return any(
        piece.count("=") + piece.count(" ") > _MAX_ATTRIBUTES
        for piece in html.split("<")
        if len(piece) > _MAX_ATTRIBUTES
    )


def _deepest(steps: list[int]) -> int:
    return max(accumulate(steps), default=0)


def cut_tags(html: str) -> str:
    """The text between the tags, in one pass; scripts and styles left out."""
    out = []
    silent = ""
    for piece in html.split("<"):
        found = _TAG.match("<" + piece[:40])
        _, closed, text = piece.partition(">")
        name = "" if found is None else found[2].lower()
        if silent:
            if not (found is not None and found[1] and name == silent):
                continue
            silent = ""
        elif name in _SILENT and found is not None and not found[1]:
            silent = name
            continue
        if name in _BLOCKS:
            out.append("\n")
        if found is None and not piece.startswith(("!", "?", "/")):
            out.append(piece)
        elif closed:
            out.append(text)
    text = _CHARACTER_REFERENCE.sub(" ", "".join(out))
    return _SPACE.sub(" ", unescape(text))
