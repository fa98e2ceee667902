"""What is fuzzed: functions of bytes that return, whatever the bytes are, and whose results are sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import partial

from mail_ingest import mime
from mail_ingest.accounts import google_apis
from mail_ingest.accounts.directory import people_of
from mail_ingest.errors import ServerError
from mail_ingest.gmail import answers
from mail_ingest.gmail.contract import MOST_FINDINGS, MalformedAnswerError
from mail_ingest.gmail.refusals import LONGEST_WAIT_S, classify
from mail_ingest.gmail.service import decoded
from mail_ingest.sources.batches import clean
from mail_ingest_tests.mime.soundness import faults

NOW = 1_790_000_000.0
MESSAGE_ID = "18f2a3b4c5d6e7f8"

#: Kinds of answers, and what reads the decoded JSON of each.
READERS: Mapping[str, Callable[..., object]] = {
    "profile": answers.profile,
    "labels": answers.labels,
    "label": answers.label,
    "ids": answers.id_page,
    "history": answers.history_page,
    "state": partial(answers.message_state, message_id=MESSAGE_ID),
    "raw": partial(answers.raw_message, message_id=MESSAGE_ID),
}
KINDS = (*READERS, "refusal", "people", "reason")


def read_mail(data: bytes) -> None:
    """Parses bytes as a message; every promise of the parser is held against the result."""
    found = faults(mime.parse(data))
    assert found == [], found


def read_answer(data: bytes) -> None:
    """Reads bytes as the answer of the kind that the first byte names. What is refused is refused in words that print."""
    if not data:
        return
    kind, body = KINDS[data[0] % len(KINDS)], data[1:]
    try:
        if kind == "refusal":
            _refuse(body)
        elif kind == "reason":
            word = google_apis._reason(body)
            assert word == "" or google_apis.is_word(word)
        elif kind == "people":
            document = decoded(body)
            for person in people_of(document, "people") if isinstance(document, dict) else []:
                assert isinstance(person.address, str)
        else:
            told: list[str] = []
            answer = READERS[kind](decoded(body), told.extend)
            assert len(told) <= MOST_FINDINGS * max(1, body.count(b"{"))
            assert all(line.isprintable() for line in told)
            for value in _values(answer):
                _check(value)
    except (MalformedAnswerError, ServerError) as error:
        assert str(error).isprintable()
        assert len(str(error)) < 500


def _refuse(body: bytes) -> None:
    """The first line is a Retry-After header, the rest the body; every class of status."""
    header, _, document = body.partition(b"\n")
    for status in (302, 400, 401, 403, 404, 408, 429, 500):
        refusal = classify(status, {"retry-after": header.decode("latin-1")}, document, now=NOW)
        assert refusal.text.isprintable()
        assert refusal.reason.isascii()
        assert len(refusal.text) <= 200
        assert refusal.retry_at is None or refusal.retry_at <= NOW + LONGEST_WAIT_S
        if refusal.retry_at is not None:
            datetime.fromtimestamp(refusal.retry_at, UTC)


def _values(value: object) -> Iterator[object]:
    if is_dataclass(value):
        for each in fields(value):
            yield from _values(getattr(value, each.name))
    elif isinstance(value, tuple | list | frozenset):
        for inner in value:
            yield from _values(inner)
    else:
        yield value


def _check(value: object) -> None:
    if isinstance(value, bool) or value is None or isinstance(value, bytes):
        return
    if isinstance(value, int):
        assert -(2**63) <= value < 2**63
    else:
        assert isinstance(value, str)
        (clean(value) or "").encode()


TARGETS: Mapping[str, Callable[[bytes], None]] = {"mime": read_mail, "answers": read_answer}
