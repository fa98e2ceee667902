"""Content-Type and Content-Disposition: a value and its parameters, with RFC 2231 and what is written instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from mail_ingest.mime.charsets import decode
from mail_ingest.mime.defects import Defect
from mail_ingest.mime.words import decode_words, one_line

MAX_PARAMETERS = 500

# A quote that is never closed holds all the rest.
_PARAMETER = re.compile(
    r"""[;\s]*+ (?: ([^\s=;"]++) \s*+ = \s*+ (?: "((?:[^"\\]|\\.)*+) "? [^;]*+ | ([^;]*+) ) | [^;]*+ )""",
    re.DOTALL | re.VERBOSE,
)
_FREE = frozenset({"name", "filename"})  # In these, brackets are no comment.
_COMMENT = re.compile(r"\([^()]*\)")
_SECTION = re.compile(r"([^*]++)(?:\*(\d{1,4}))?(\*?)")


Parsed = tuple[str, Mapping[str, str]]

# The few values that most parts of the world's mail have. Nothing with a file name or a boundary in it is kept.
_USUAL: dict[str, Parsed] = {}
_MOST_USUAL = 1_000
_LONGEST_USUAL = 60
_HARMLESS = frozenset({"charset", "format", "delsp"})


def parse_parameters(value: str, defects: set[Defect]) -> Parsed:
    """The part before the first ";" in lower case, and the parameters by lower-case name.

    Of a repeated parameter the first counts. Values are decoded: RFC 2231 sections and charsets, encoded
    words, quoting. The first MAX_PARAMETERS are read.
    """
    if (parsed := _USUAL.get(value)) is not None:
        return parsed
    found: set[Defect] = set()
    parsed = _parse(value, found)
    defects |= found
    if not found and len(value) <= _LONGEST_USUAL and len(_USUAL) < _MOST_USUAL and parsed[1].keys() <= _HARMLESS:
        _USUAL[value] = parsed
    return parsed


def _parse(value: str, defects: set[Defect]) -> Parsed:
    main, separator, rest = value.partition(";")
    main = _COMMENT.sub("", main).strip().lower() if "(" in main else main.strip().lower()
    if not separator:
        return main, {}
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    position = 0
    for _ in range(MAX_PARAMETERS):
        found = _PARAMETER.match(rest, position)
        if found is None or found.end() == position:
            break
        position = found.end()
        name, quoted, token = found.groups()
        if name is None:
            continue
        name = name.lower()
        if quoted is not None:
            text = _unquoted(quoted)
        elif name in _FREE:
            text = token.strip()
        else:
            text = token.partition(" (")[0].strip()
        if "*" not in name:
            plain.setdefault(name, text)
        elif (section := _SECTION.fullmatch(name)) is not None:
            sections.setdefault(section[1], {}).setdefault(int(section[2] or 0), (text, bool(section[3])))
    values = {name: decode_words(text, defects) for name, text in plain.items()}
    for name, numbered in sections.items():
        values[name] = _join(numbered, defects)
    return main, values


def _unquoted(text: str) -> str:
    """Without the escapes of quotes and backslashes; other backslashes are those of Windows paths."""
    return text.replace('\\"', '"').replace("\\\\", "\\") if "\\" in text else text


def _join(numbered: Mapping[int, tuple[str, bool]], defects: set[Defect]) -> str:
    """One value out of its RFC 2231 sections, whatever their order in the header; a gap ends it."""
    charset = ""
    data = b""
    first = min(numbered)
    for number in range(first, first + len(numbered)):
        if number not in numbered:
            break
        text, is_encoded = numbered[number]
        if is_encoded:
            if number == first and text.count("'") >= 2:
                charset, _, text = text.split("'", 2)
            data += unquote_to_bytes(text)
        else:
            data += text.encode("utf-8")
    if not charset and b"=?" in data:
        return decode_words(data.decode("utf-8", "replace"), defects)
    return one_line(decode(data, charset or "utf-8", defects))
