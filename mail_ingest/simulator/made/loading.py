"""Fills a mailbox from files."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path

from mail_ingest.simulator.made.files import iter_messages
from mail_ingest.simulator.made.takeout import SYSTEM_NAMES, WITHOUT_LABEL, TakeoutMessage, is_takeout, iter_takeout
from mail_ingest.simulator.mail import ids, mime
from mail_ingest.simulator.mail.content import Spool, with_crlf
from mail_ingest.simulator.mail.state import MailboxState


def load(
    state: MailboxState, path: Path, labels: Iterable[str], limit: int | None, label_id: Callable[[str], str]
) -> list[int]:
    """Adds the messages of a folder, archive, mbox or Takeout export; returns their numbers in ascending order.

    Takeout exports bring ids, threads and labels along; `label_id` makes the label for a display name. Other mail gets
    ids from its dates, threads from Message-ID and References, and the given labels.
    """
    if path.is_file() and is_takeout(path):
        return _load_takeout(state, islice(iter_takeout(path), limit), label_id)
    return _load_plain(state, islice(iter_messages(path), limit), labels)


def _load_takeout(state: MailboxState, messages: Iterable[TakeoutMessage], label_id: Callable[[str], str]) -> list[int]:
    spool = Spool()
    rows: dict[int, tuple[int, int, int]] = {}  # number -> place in the spool, thread id, label set
    for message in messages:
        if message.number in rows or state.table.slot_of(message.number) is not None:
            continue
        label_ids = [
            SYSTEM_NAMES.get(name.lower()) or label_id(name)
            for name in message.label_names
            if name.lower() not in WITHOUT_LABEL
        ]
        rows[message.number] = len(spool), message.thread_id, state.sets.number(label_ids)
        spool.append(with_crlf(message.raw))
    numbers = sorted(rows)
    return _insert(
        state,
        spool,
        numbers,
        places=[rows[number][0] for number in numbers],
        thread_ids=[rows[number][1] for number in numbers],
        dates=[number >> ids.RANDOM_BITS for number in numbers],
        label_sets=[rows[number][2] for number in numbers],
    )


def _load_plain(state: MailboxState, messages: Iterable[bytes], labels: Iterable[str]) -> list[int]:
    spool = Spool()
    dates: list[int] = []
    threads = _Threads()
    for raw in messages:
        clean = with_crlf(raw)
        headers = mime.parse_headers(clean)
        dates.append(_date_ms(headers, int(state.clock() * 1000)))
        threads.add(len(spool), str(headers.get("Message-ID", "")), _references(headers))
        spool.append(clean)
    order = sorted(range(len(dates)), key=dates.__getitem__)
    numbers: list[int] = []
    taken: set[int] = set()
    for place in order:
        number = ids.message_number(dates[place], state.rng)
        while number in taken or state.table.slot_of(number) is not None:
            number += 1
        taken.add(number)
        numbers.append(number)
    by_number = sorted(zip(numbers, order, strict=True))
    starters: dict[str, int] = {}
    thread_ids = [starters.setdefault(threads.root(place), number) for number, place in by_number]
    return _insert(
        state,
        spool,
        [number for number, _ in by_number],
        places=[place for _, place in by_number],
        thread_ids=thread_ids,
        dates=[dates[place] for _, place in by_number],
        label_sets=[state.sets.number(labels)] * len(by_number),
    )


def _insert(
    state: MailboxState,
    spool: Spool,
    numbers: Sequence[int],
    *,
    places: Sequence[int],
    thread_ids: Sequence[int],
    dates: Sequence[int],
    label_sets: Sequence[int],
) -> list[int]:
    spool.first_slot = len(state.table)
    spool.order = array("I", places)
    state.insert_run(numbers, thread_ids, dates, label_sets, spool)
    return list(numbers)


class _Threads:
    """Groups of messages that name each other, by union of message ids."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._names: dict[int, str] = {}

    def add(self, place: int, message_id: str, references: Iterable[str]) -> None:
        own = message_id.strip() or f"place {place}"
        self._names[place] = own
        for name in references:
            self._parents[self._find(name)] = self._find(own)

    def root(self, place: int) -> str:
        return self._find(self._names[place])

    def _find(self, name: str) -> str:
        root = name
        while self._parents.setdefault(root, root) != root:
            root = self._parents[root]
        while self._parents[name] != root:
            self._parents[name], name = root, self._parents[name]
        return root


def _references(headers: mime.Parsed) -> list[str]:
    text = f"{headers.get('References', '')} {headers.get('In-Reply-To', '')}"
    return [word for word in text.split() if word.startswith("<") and word.endswith(">")]


def _date_ms(headers: mime.Parsed, fallback_ms: int) -> int:
    """When the message arrived: the topmost Received line, else Date, else now. Never in the future."""
    received = headers.get("Received")
    candidates = (str(received).rpartition(";")[2] if received else "", str(headers.get("Date", "")))
    for text in candidates:
        try:
            moment = parsedate_to_datetime(text.strip()).timestamp() if text.strip() else 0.0
        except (ValueError, IndexError, OverflowError, TypeError):
            continue
        if 0 < moment * 1000 < fallback_ms:
            return int(moment * 1000)
    return fallback_ms
