"""A sample of the strings that have to go, taken before anything is rewritten, and the search for them afterwards.

The strings are held in memory alone: they are never written, logged or shown. Short ones are left out, because they would
be found by chance, and so are those that stand in what stays as well, such as a line that somebody else has quoted. A search
that finds nothing is worth as much as the places that it looks into: values are searched as they are read, decompressed,
and files once more as bytes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

from mail_ingest.ingest.erasing.people import AT_SIGNS, ErasedPeople
from mail_ingest.shared_files import pieces
from mail_ingest.sources.stored import StoredMessage

#: Strings that are searched for, and those that they are chosen from: some of these stand in what stays.
SAMPLE, CANDIDATES = 64, 256
#: Lengths of a string of the sample. Beyond 80 characters a line may be folded somewhere.
_SHORTEST, _LONGEST = 20, 80
_DISTINCT = 8
_SHORTEST_ID = 16
#: Strings of one message.
_PER_MESSAGE = 8
#: Nothing that JSON or COPY would write in another way.
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\"\\]+")
#: Bytes of a file in memory, and how much of them is looked at again with the next.
_PIECE, _OVERLAP = 4 * 1024 * 1024, 1024
_AROUND = 120
_TOKEN_BEFORE = re.compile(rb"[\w.!#$&'*+/?^`{|}~=%-]*$")
_TOKEN_AFTER = re.compile(rb"[\w.-]*")


class Evidence:
    """Strings that have to go. `people`: whose addresses have to go wherever they stand; `addresses`: theirs, if known."""

    def __init__(self, seed: str, people: ErasedPeople | None = None, addresses: Iterable[str] = ()) -> None:
        self.people = people
        self.addresses = tuple(address.lower() for address in addresses)
        self._random = random.Random(seed)
        self._candidates: list[str] = []
        self._seen = 0
        self._matcher: BytesAhoCorasick | None = None
        self._left: dict[int, str] = {}

    def note(self, old: StoredMessage, new: StoredMessage | None) -> None:
        """Takes strings out of a message that is to be rewritten."""
        kept = set() if new is None else set(new.texts())
        self.note_texts(text for text in old.contents() if text not in kept)

    def note_texts(self, texts: Iterable[str]) -> None:
        pieces = [piece for text in texts for piece in _pieces(text)]
        for piece in self._random.sample(pieces, min(_PER_MESSAGE, len(pieces))):
            self._seen += 1
            if len(self._candidates) < CANDIDATES:
                self._candidates.append(piece)
            else:
                place = self._random.randrange(self._seen)
                if place < CANDIDATES:
                    self._candidates[place] = piece

    def note_ids(self, ids: Iterable[str]) -> None:
        """Takes some of these ids, which are long enough to be found nowhere by chance."""
        long_enough = [text for text in ids if len(text) >= _SHORTEST_ID]
        self._candidates += self._random.sample(long_enough, min(SAMPLE // 4, len(long_enough)))

    def taken_over(self, seed: str) -> Evidence:
        """A sample that begins with the strings of this one, for more that has to go."""
        more = Evidence(seed, self.people, self.addresses)
        more._candidates = sorted(self._left.values())[:CANDIDATES]
        more._seen = len(more._candidates)
        return more

    def settle(self) -> None:
        """Ends the taking; from here on `stays` leaves strings out."""
        if self._matcher is not None or not self._candidates:
            return
        self._left = dict(enumerate(dict.fromkeys(self._candidates)))
        self._candidates = []
        self._matcher = BytesAhoCorasick([text.lower().encode() for text in self._left.values()])

    def stays(self, data: bytes) -> None:
        """Leaves out strings that stand in something that stays."""
        if self._matcher is not None and self._left:
            for index, _, _ in self._matcher.find_matches_as_indexes(data.lower(), overlapping=True):
                self._left.pop(index, None)

    def strings(self) -> list[str]:
        """What is to be searched for, the addresses first."""
        chosen = sorted(self._left.values())
        return [*self.addresses, *self._random.sample(chosen, min(SAMPLE, len(chosen)))]


def _pieces(text: str) -> Iterator[str]:
    """Parts of a text by which it could be known again: one for each line that is long enough."""
    if len(text) < _SHORTEST:
        return
    for line in text.splitlines()[:50]:
        for plain in _PLAIN.findall(line):
            piece = plain.strip()[:_LONGEST].strip()
            if len(piece) >= _SHORTEST and len(set(piece)) >= _DISTINCT:
                yield piece
                break


class Search:
    """Searches bytes for the strings, without regard to case, and keeps where any of them was found."""

    def __init__(self, evidence: Evidence) -> None:
        strings = evidence.strings()
        known = len(evidence.addresses)
        self.strings = len(strings)
        self.bytes = 0
        self.found: Counter[str] = Counter()
        self._people = evidence.people
        spelled = [address.replace("@", sign) for address in strings[:known] for sign in AT_SIGNS]
        self._addresses = len(spelled)
        patterns = [text.lower().encode() for text in (*spelled, *strings[known:])]
        self._matcher = BytesAhoCorasick(patterns) if patterns else None
        self._tolerated: set[bytes] = set()

    def values(self, place: str, data: bytes) -> None:
        """Searches values as they are read: an address counts only where it is not part of another one."""
        self._look(place, data, is_file=False)

    def texts(self, place: str, texts: Iterable[str]) -> None:
        for text in texts:
            self.values(place, text.encode("utf-8", "surrogatepass"))

    def file(self, place: str, path: Path) -> None:
        """Searches a file's bytes, 4 MB in memory at a time. After `values`: what was part of another address there may be
        part of it here."""
        before = b""
        for piece in pieces(path, _PIECE):
            self._look(place, before + piece, is_file=True, again=len(before))
            before = (before + piece)[-_OVERLAP:]

    def _look(self, place: str, data: bytes, *, is_file: bool, again: int = 0) -> None:
        self.bytes += len(data) - again
        if self._matcher is None:
            return
        lowered = data.lower()
        for index, start, end in self._matcher.find_matches_as_indexes(lowered, overlapping=True):
            if end <= again:
                continue  # seen with the piece before
            if index >= self._addresses or self._is_address(lowered, start, end, is_file=is_file):
                self.found[place] += 1

    def _is_address(self, data: bytes, start: int, end: int, *, is_file: bool) -> bool:
        if is_file:
            # values lie side by side in files, so what stands around one may belong to others
            return not any(_is_at(data, start, end, token) for token in self._tolerated)
        ahead = data[max(start - _AROUND, 0) : start].decode("utf-8", "replace")
        around = ahead + data[start : end + _AROUND].decode("utf-8", "replace")
        if self._people is None or self._people.mentioned_at(around, len(ahead)):
            return True
        before = _TOKEN_BEFORE.search(data, max(start - _AROUND, 0), start)
        after = _TOKEN_AFTER.match(data, end)
        self._tolerated.add(data[before.start() if before else start : after.end() if after else end])
        return False


def _is_at(data: bytes, start: int, end: int, token: bytes) -> bool:
    """Whether what was found is a part of this longer word."""
    offset = token.find(data[start:end])
    return offset >= 0 and data[max(start - offset, 0) : start - offset + len(token)] == token
