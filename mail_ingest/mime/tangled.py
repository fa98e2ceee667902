"""HTML that would cost far more than its length: told without parsing it, and read without a parser.

By the rules of HTML, an unclosed formatting element is copied into every later paragraph, an end tag may search all
open elements, and an attribute is compared with all before it in its tag. Some hundred kilobytes built for that
cost a parser gigabytes or minutes. The limits here are far above what ordinary mail comes to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from itertools import accumulate

_MAX_TAGS = 400_000
_MAX_OPEN_TIMES_TAGS = 10_000_000
_MAX_COPIES = 300_000
_MAX_ATTRIBUTES = 3_000

_VOID = frozenset("area base br col embed hr img input link meta p source track wbr".split())  # noqa: SIM905
_FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())  # noqa: SIM905
_BLOCKS = frozenset("br div h1 h2 h3 h4 h5 h6 hr li ol p pre table tr ul".split())  # noqa: SIM905
_SILENT = frozenset({"script", "style", "title", "template", "noscript"})

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)")
_SEPARATORS = re.compile(r"[\s/]++")
_LONG_REFERENCE = re.compile(r"&#?[0-9A-Za-z]{12,}+;?")
_SPACE = re.compile(r"[^\S\n]++")


def is_tangled(html: str) -> bool:
    """Whether parsing might cost much more than the length of the document."""
    brackets = html.count("<")
    if brackets > _MAX_TAGS:
        return True
    if brackets * brackets > _MAX_COPIES:
        tags = _TAG.findall(html)
        open_at_once = _deepest(slash for slash, name in tags if name.lower() not in _VOID)
        copied = _deepest(slash for slash, name in tags if name.lower() in _FORMATTING)
        if open_at_once * len(tags) > _MAX_OPEN_TIMES_TAGS or copied * len(tags) > _MAX_COPIES:
            return True
        # Angle brackets in attributes, which would hide from the next count how many attributes there are.
        in_attributes = html.count('"<') + html.count("'<") + html.count("=<")
        if in_attributes + brackets - len(tags) - html.count("<!") > _MAX_ATTRIBUTES:
            return True
    return any(_attributes(piece) > _MAX_ATTRIBUTES for piece in html.split("<") if len(piece) > _MAX_ATTRIBUTES)


def _deepest(slashes: Iterable[str]) -> int:
    return max(accumulate(-1 if slash else 1 for slash in slashes), default=0)


def _attributes(piece: str) -> int:
    """At most how many attributes the tag at the start of a piece has."""
    tag = piece.partition(">")[0]
    if tag.count('"') % 2 or tag.count("'") % 2:
        tag = piece
    return len(_SEPARATORS.findall(tag)) + tag.count('"') // 2


def cut_tags(html: str) -> str:
    """The text between the tags, in one pass; scripts and styles left out."""
    first, *pieces = html.split("<")
    out = [first]
    silent = ""
    for piece in pieces:
        found = _TAG.match("<" + piece[:40])
        name = "" if found is None else found[2].lower()
        is_end = found is not None and found[1] == "/"
        if silent:
            if not (is_end and name == silent):
                continue
            silent = ""
        elif name in _SILENT and not is_end:
            silent = name
            continue
        if name in _BLOCKS:
            out.append("\n")
        _, closed, text = piece.partition(">")
        if found is None and not piece.startswith(("!", "?", "/")):
            out.append("<" + piece)
        elif closed:
            out.append(text)
    text = _LONG_REFERENCE.sub(" ", "".join(out))
    return _SPACE.sub(" ", unescape(text))
