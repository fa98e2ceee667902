"""Where the bytes of messages come from: kept in memory, read back from a file, or made on demand."""

import tempfile
from array import array
from bisect import bisect_right
from typing import BinaryIO, Protocol


class Source(Protocol):
    """Bytes for a run of consecutive slots."""

    def raw(self, slot: int) -> bytes:
        """The whole message with CRLF line ends, the same bytes at every call."""
        ...

    def preview(self, slot: int) -> str | None:
        """The first words of the text if they are known without building the message, else None."""
        ...


class Spool:
    """Messages written once to an unnamed temporary file, so that a large corpus does not sit in memory."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the mailbox)
        self._ends = array("Q", [0])
        self.first_slot = 0
        self.order = array("I")
        """Place in the spool of the first slot, the second, ..."""

    def append(self, raw: bytes) -> None:
        self._file.seek(self._ends[-1])
        self._file.write(raw)
        self._ends.append(self._ends[-1] + len(raw))

    def raw(self, slot: int) -> bytes:
        at = self.order[slot - self.first_slot]
        self._file.seek(self._ends[at])
        return self._file.read(self._ends[at + 1] - self._ends[at])

    def preview(self, slot: int) -> str | None:  # noqa: ARG002 (a Source)
        return None

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __del__(self) -> None:
        self._file.close()


class Contents:
    """Bytes of every slot: single messages by slot, runs by their source."""

    def __init__(self) -> None:
        self._single: dict[int, bytes] = {}
        self._starts: list[int] = []
        self._sources: list[Source] = []

    def put(self, slot: int, raw: bytes) -> None:
        self._single[slot] = raw

    def put_run(self, first_slot: int, source: Source) -> None:
        """Hands all slots from `first_slot` on, as far as no single bytes were put, to a source."""
        self._starts.append(first_slot)
        self._sources.append(source)

    def drop(self, slot: int) -> None:
        self._single.pop(slot, None)

    def raw(self, slot: int) -> bytes:
        """The message with CRLF line ends, as `format=raw` gives it."""
        single = self._single.get(slot)
        return self._source(slot).raw(slot) if single is None else with_crlf(single)

    def as_received(self, slot: int) -> bytes:
        """The message with the line ends it came with: recorded bodies of mail sent through the API have bare LF."""
        single = self._single.get(slot)
        return self._source(slot).raw(slot) if single is None else single

    def preview(self, slot: int) -> str | None:
        return None if slot in self._single else self._source(slot).preview(slot)

    def _source(self, slot: int) -> Source:
        return self._sources[bisect_right(self._starts, slot) - 1]


def with_crlf(raw: bytes) -> bytes:
    """The message with CRLF line ends, as Gmail hands mail out, whatever it was stored with."""
    if b"\n" not in raw.replace(b"\r\n", b""):
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
