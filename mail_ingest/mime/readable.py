"""HTML to readable text."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser


def html_to_text(html: str) -> str:
    """The visible text of an HTML document; scripts and styles are left out."""
    tree = LexborHTMLParser(html)
    tree.strip_tags(["script", "style", "head", "title", "noscript", "template"])
    body = tree.body
    return body.text(separator="\n", strip=True) if body is not None else ""
