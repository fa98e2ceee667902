"""Bytes -> clean Unicode, by charset labels as they are found in mail.

A label is a hint. Senders write subsets for supersets (gb2312 for gb18030, iso-8859-1 for windows-1252), names
nobody knows, the wrong name, or none. So each label stands for a chain of codecs, tried strictly in order, and
bytes that fit none of them are guessed at before any is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from encodings.aliases import aliases
from functools import lru_cache

from mail_ingest.mime.defects import Defect

_ASCII = ("ascii",)
_LATIN = ("cp1252", "latin_1")
_JAPANESE = ("iso2022_jp", "iso2022_jp_ext", "iso2022_jp_2004")
_UNTOLD: tuple[tuple[str, ...], ...] = ((), _ASCII)

# What senders mean by the labels they write: supersets first.
_MEANT: Mapping[str, tuple[str, ...]] = {
    "ascii": _ASCII,
    **dict.fromkeys(("latin_1", "cp1252"), _LATIN),
    "iso8859_6": ("iso8859_6", "cp1256"),
    "iso8859_7": ("iso8859_7", "cp1253"),
    "iso8859_8": ("iso8859_8", "cp1255"),
    "iso8859_9": ("cp1254", "iso8859_9"),
    **dict.fromkeys(("iso8859_11", "tis_620"), ("cp874", "iso8859_11")),
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), ("gb18030",)),
    **dict.fromkeys(("big5", "cp950", "big5hkscs"), ("cp950", "big5hkscs")),
    **dict.fromkeys(("euc_kr", "cp949"), ("cp949", "johab")),
    **dict.fromkeys(("shift_jis", "cp932"), ("cp932", "shift_jis_2004")),
    "euc_jp": ("euc_jp", "euc_jis_2004"),
    "iso2022_jp": _JAPANESE,
}

# Names in use that Python has no alias for, without their punctuation.
_NAMES = {
    "ansi": "cp1252",
    "ansix341968": "ascii",
    "chinesebig5": "big5",
    "cnbig5": "big5",
    "xxbig5": "big5",
    "cngb": "gb2312",
    "isoir58": "gb2312",
    "xgbk": "gbk",
    "iso88598e": "iso8859_8",
    "iso88598i": "iso8859_8",
    "iso885911": "iso8859_11",
    "koi8": "koi8_r",
    "koi8ru": "koi8_u",
    "ksc56011989": "euc_kr",
    "xeuckr": "euc_kr",
    "xwindows949": "cp949",
    "macroman": "mac_roman",
    "xmacroman": "mac_roman",
    "xmaccyrillic": "mac_cyrillic",
    "xsjis": "shift_jis",
    "xeucjp": "euc_jp",
    "utf8mb4": "utf_8",
    "unicode11utf8": "utf_8",
    "unicode11utf7": "utf_7",
}
_WITHOUT_ALIAS = ("cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_t", "koi8_u")
_CODE_PAGE = re.compile(r"(?:windows|win|xcp|cp|ibm|ms|dos)(\d{3,4})")

# Codecs that Python counts as text encodings and no mail is written in; some are not linear in their input.
_NOT_FOR_MAIL = {"idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
_NOT_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}

_WIDE = {"utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"}
# Codecs in which bytes below 128 can mean something else than ASCII.
_NOT_ASCII = {*_WIDE, "utf_7", "hz", "iso2022_kr", *_JAPANESE, "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3"}
_NOT_ASCII |= {name for name in aliases.values() if name.startswith(("cp0", "cp1140", "cp1026", "cp500", "cp875"))}

_PUNCTUATION = re.compile(r"[^a-z0-9]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_META = re.compile(rb"""<meta\s[^>]{0,200}?charset\s{0,9}=\s{0,9}["']?\s{0,9}([\w.:-]{1,40})""", re.IGNORECASE)
_META_WITHIN = 4096

_KNOWN: dict[str, str] = {
    _PUNCTUATION.sub("", name): codec
    for alias, codec in aliases.items()
    for name in (alias, codec)
    if codec not in _NOT_FOR_MAIL | _NOT_TEXT
}
_KNOWN.update((_PUNCTUATION.sub("", codec), codec) for codec in _WITHOUT_ALIAS)
_KNOWN.update(_NAMES)


def codecs_for(label: str) -> tuple[str, ...]:
    """Python codecs to try for a label, best first; () when the label names no charset."""
    return _codecs_for(label) if 0 < len(label) <= 40 else ()


@lru_cache(maxsize=512)
def _codecs_for(label: str) -> tuple[str, ...]:
    name = _PUNCTUATION.sub("", label.lower())
    if (page := _CODE_PAGE.fullmatch(name)) is not None:
        name = "cp" + page[1]
    codec = _KNOWN.get(name)
    return () if codec is None else _MEANT.get(codec, (codec,))


def declared_in_html(data: bytes) -> str:
    """The charset an HTML document names in its own head, or ""."""
    found = _META.search(data, 0, _META_WITHIN)
    return found[1].decode("ascii", "replace") if found else ""


def decode(data: bytes, label: str, defects: set[Defect], hint: str = "") -> str:
    """Text of `data`, whose sender declared `label` ("" for none).

    `hint` is the charset to guess first when the label is missing, unknown or does not fit. The text has no
    surrogates, no NUL and no byte order mark.
    """
    codecs = codecs_for(label)
    if label and not codecs:
        defects.add("unknown-charset")
    if data.isascii() and b"\x1b" not in data and (not codecs or codecs[0] not in _NOT_ASCII):
        text = data.decode("ascii")
    else:
        text = _decode(data, label, codecs, defects, hint).removeprefix("\ufeff")
    if "\0" in text:
        defects.add("nul-character")
        text = text.replace("\0", "")
    return text


def _decode(data: bytes, label: str, codecs: tuple[str, ...], defects: set[Defect], hint: str) -> str:
    is_wide = bool(codecs) and codecs[0] in _WIDE and b"\0" not in data
    if codecs in _UNTOLD or codecs is _LATIN or is_wide:
        # Either shows by its form that it is meant: by escape sequences, or by lead and trail bytes.
        text = _strict(data, "iso2022_jp" if b"\x1b$" in data else "utf_8")
        if text is not None:
            if is_wide or b"\x1b$" in data or not data.isascii():
                _note(label, codecs, defects)
            return text
    if codecs in _UNTOLD:
        _note(label, codecs, defects)
        codecs = codecs_for(hint)
        codecs = _LATIN if codecs in _UNTOLD else codecs
    for codec in codecs:
        if (text := _strict(data, codec)) is not None:
            return text
    if codecs is _JAPANESE and (text := _windows_iso2022_jp(data)) is not None:
        return text
    return _least_damage(data, codecs[0], defects, hint)


def _note(label: str, codecs: tuple[str, ...], defects: set[Defect]) -> None:
    """Records that the label was not followed; that it is unknown is recorded already."""
    if codecs:
        defects.add("wrong-charset")
    elif not label:
        defects.add("undeclared-charset")


def _least_damage(data: bytes, codec: str, defects: set[Defect], hint: str) -> str:
    """Text of bytes that do not fit their charset: in another that fits, else with replacements."""
    replaced = data.decode(codec, "replace")
    damage = replaced.count("\ufffd")
    sound = len(replaced) - len(replaced.encode("ascii", "ignore")) - damage
    if damage > sound or codec != "utf_8":
        for other in ("utf_8", *codecs_for(hint), *(_LATIN if damage > sound else ())):
            if other != codec and (text := _strict(data, other)) is not None:
                defects.add("wrong-charset")
                return text
    defects.add("undecodable-bytes")
    return _SURROGATES.sub("\ufffd", replaced)


def _strict(data: bytes, codec: str) -> str | None:
    try:
        text = data.decode(codec)
    except ValueError:
        return None
    return None if codec == "utf_7" and _SURROGATES.search(text) else text


def _windows_iso2022_jp(data: bytes) -> str | None:
    """ISO-2022-JP with the NEC and IBM characters that Windows writes into it and the standard lacks."""
    out = []
    for run in re.split(rb"(?=\x1b)", data):
        escape, body = run[:3], run[3:]
        if escape in (b"\x1b$B", b"\x1b$@"):
            body = _shift_jis(body)
        elif escape == b"\x1b(I":
            body = bytes(byte | 0x80 for byte in body)
        elif not escape.startswith(b"\x1b("):
            body = run
        if (text := _strict(body, "cp932")) is None:
            return None
        out.append(text)
    return "".join(out)


def _shift_jis(pairs: bytes) -> bytes:
    """Row and cell bytes of JIS X 0208 as Shift JIS; line ends in between are kept."""
    out = bytearray()
    position = 0
    while position < len(pairs):
        row, cell = pairs[position] - 0x21, pairs[position + 1 : position + 2]
        if row < 0 or not cell:
            out.append(pairs[position])
            position += 1
            continue
        out.append(((row >> 1) + (0x81 if row < 62 else 0xC1)) & 0xFF)
        out.append((cell[0] + (0x7E if row & 1 else 0x1F + (cell[0] > 0x5F))) & 0xFF)
        position += 2
    return bytes(out)
