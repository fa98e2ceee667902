"""Ready-made text that message bodies are cut from.

A pool is about a megabyte of encoded lines, made once per process from a fixed seed; a body is a run of whole lines of
it. Whole lines keep every encoding valid: quoted-printable escapes, escape sequences of ISO-2022-JP and base64 groups
never cross a line here. Cutting a slice is all that one message costs.
"""

import quopri
import random
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cache

import pybase64

from mail_ingest.simulator.made import vocabulary

_LINES = 12_000
_BASE64_LINE = 57  # bytes that fill one line of 76 characters


class Pool:
    """Encoded lines, each ending in CRLF, and the text that each line says."""

    __slots__ = ("_ends", "_joint", "data", "texts")

    def __init__(self, lines: Iterable[bytes], texts: list[str], joint: str = " ") -> None:
        self._joint = joint  # what stands between two lines once the transfer encoding is undone
        encoded = list(lines)
        self.data = b"\r\n".join(encoded) + b"\r\n"
        self.texts = texts
        self._ends = array("I", [0])
        end = 0
        for line in encoded:
            end += len(line) + 2
            self._ends.append(end)

    def lines_in(self, first_line: int, size_bytes: int) -> int:
        """How many lines from a line on make up about so many bytes; never goes past the end of the pool."""
        first = first_line % self.line_count
        return min(bisect_left(self._ends, self._ends[first] + size_bytes), self.line_count) - first

    def lines(self, first_line: int, count: int) -> bytes:
        """So many lines from a line on, as far as there are any."""
        first = first_line % self.line_count
        return self.data[self._ends[first] : self._ends[min(first + count, self.line_count)]]

    def cut(self, first_line: int, size_bytes: int) -> bytes:
        """About `size_bytes` of whole lines from a line on, at least one; goes round at the end of the pool."""
        begin = self._ends[first_line % self.line_count]
        end = begin + size_bytes
        if end <= len(self.data):
            return self.data[begin : self._ends[bisect_left(self._ends, end)]]
        rest = self.data[begin:]
        rounds, left = divmod(end - len(self.data), len(self.data))
        return rest + self.data * rounds + self.data[: self._ends[bisect_left(self._ends, left)]]

    def text(self, first_line: int, size_bytes: int, most_lines: int) -> str:
        """What the first lines of such a cut say."""
        first = first_line % self.line_count
        end = bisect_left(self._ends, self._ends[first] + size_bytes)
        return self._joint.join(self.texts[first : min(end, first + most_lines)])

    @property
    def line_count(self) -> int:
        return len(self._ends) - 1


def _sentences(words: list[str], width: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    lines = []
    for _ in range(_LINES):
        line = rng.choice(words).capitalize()
        while len(line) < width:
            line += " " + rng.choice(words)
        lines.append(line + rng.choice((".", ".", "?", ",", " -", "!")))
    return lines


def _glyphs(alphabet: str, length: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(alphabet, k=length - 1)) + "。" for _ in range(_LINES)]


def _quoted(line: str, charset: str) -> bytes:
    return quopri.encodestring(line.encode(charset), quotetabs=False).replace(b"=\n", b"=\r\n")


def _base64(line: bytes) -> bytes:
    return pybase64.b64encode(line)


def _paragraph(line: str) -> str:
    return f'<p style="margin:0 0 8px">{line}</p>'


@cache
def pool(name: str) -> Pool:
    """A pool by name; built at first use (20 to 200 ms)."""
    return _BUILDERS[name]()


def _plain() -> Pool:
    lines = _sentences(vocabulary.ENGLISH, 64, 1)
    return Pool((line.encode("ascii") for line in lines), lines)


def _english_html() -> Pool:
    """Line by line what the plain pool says."""
    lines = pool("plain").texts
    return Pool((_quoted(_paragraph(line), "ascii") for line in lines), lines)


def _german_8bit() -> Pool:
    lines = _sentences(vocabulary.GERMAN, 64, 3)
    return Pool((line.encode("latin-1") for line in lines), lines)


def _german_utf8() -> Pool:
    lines = _sentences(vocabulary.GERMAN, 60, 4)
    return Pool((line.encode() for line in lines), lines)


def _french_quoted() -> Pool:
    lines = _sentences(vocabulary.FRENCH, 60, 5)
    return Pool((_quoted(line, "windows-1252") for line in lines), lines)


def _russian_base64() -> Pool:
    lines = [line[: _BASE64_LINE - 2] + "\r\n" for line in _sentences(vocabulary.RUSSIAN, _BASE64_LINE, 6)]
    return Pool((_base64(line.encode("koi8-r")) for line in lines), [line.strip() for line in lines])


def _chinese_base64() -> Pool:
    lines = _glyphs(vocabulary.CHINESE, 19, 7)
    return Pool((_base64(line.encode()) for line in lines), lines, joint="")


def _chinese_8bit() -> Pool:
    lines = _glyphs(vocabulary.CHINESE, 30, 8)
    return Pool((line.encode("gb2312") for line in lines), lines)


def _japanese_7bit() -> Pool:
    lines = _glyphs(vocabulary.JAPANESE, 30, 9)
    return Pool((line.encode("iso-2022-jp") for line in lines), lines)


def _binary() -> Pool:
    noise = random.Random(10).randbytes(_BASE64_LINE * 5 * _LINES)
    starts = range(0, len(noise), _BASE64_LINE)
    return Pool((_base64(noise[at : at + _BASE64_LINE]) for at in starts), [])


_BUILDERS: dict[str, Callable[[], Pool]] = {
    "plain": _plain,
    "html": _english_html,
    "german-8bit": _german_8bit,
    "german-utf8": _german_utf8,
    "french-quoted": _french_quoted,
    "russian-base64": _russian_base64,
    "chinese-base64": _chinese_base64,
    "chinese-8bit": _chinese_8bit,
    "japanese-7bit": _japanese_7bit,
    "binary": _binary,
}
