"""Many messages side by side: what is handed out, what is raised, and how much memory may pile up."""

import base64
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mail_ingest.errors import AccountError, AuthError, GmailError, MessageGoneError, QuotaError, ServerError
from mail_ingest.gmail import GmailClient, Patience, RawMessage
from mail_ingest.gmail.fetching import fetch_all
from mail_ingest.gmail.transport import Admit
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.stage import Answer, Clock, Seen, Tokens, Wire, make_client


def until(condition: Callable[[], bool]) -> None:
    """Waits for other threads to get somewhere, at most 10 s."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the other threads did not get there"
        threading.Event().wait(0.001)


def message(message_id: str, size: int = 1) -> RawMessage:
    return RawMessage(message_id, "t", frozenset(), 1, 0, size, "", bytes(size))


def test_every_message_comes_once_and_byte_exact(client: GmailClient, box: Mailbox) -> None:
    ids = box.generate(120, mean_size_bytes=2_000)

    results = dict(client.get_raw_messages(ids))

    assert results.keys() == set(ids)
    for message_id, result in results.items():
        assert isinstance(result, RawMessage)
        assert result.raw == box.raw(message_id)


def test_nothing_asked_for_is_nothing_fetched(client: GmailClient, gmail: Simulator) -> None:
    assert list(client.get_raw_messages([])) == []
    assert gmail.calls() == 0


def test_message_that_fails_takes_no_other_with_it(
    gmail: Simulator, client: GmailClient, box: Mailbox, clock: Clock
) -> None:
    ids = [box.add() for _ in range(30)]
    gone, failing, cut = ids[3], ids[7], ids[11]
    box.delete(gone)
    gmail.fail_next(message_id=failing, status=500, reason="backendError", times=-1)
    gmail.fail_next(message_id=cut, kind="truncate", times=-1)

    results = dict(client.get_raw_messages([*ids, "not-an-id"]))

    assert results.keys() == {*ids, "not-an-id"}
    assert isinstance(results[gone], MessageGoneError)
    assert isinstance(results[failing], ServerError)
    assert isinstance(results[cut], ServerError)
    assert type(results["not-an-id"]) is GmailError
    assert sum(isinstance(result, RawMessage) for result in results.values()) == 27


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [(403, "domainPolicy", AccountError), (401, "authError", AuthError), (403, "dailyLimitExceeded", QuotaError)],
)
def test_error_of_the_account_is_raised_after_what_was_begun_is_handed_out(
    gmail: Simulator, client: GmailClient, box: Mailbox, status: int, reason: str, kind: type[GmailError]
) -> None:
    ids = [box.add() for _ in range(200)]
    gmail.fail_next(status=status, reason=reason, message="No.", times=-1, after=50)
    handed_out = []

    with pytest.raises(kind):
        for message_id, result in client.get_raw_messages(ids):
            assert isinstance(result, RawMessage)
            handed_out.append(message_id)

    assert len(handed_out) == gmail.calls("messages.get", status=200)
    assert len(handed_out) >= 50


def test_nothing_is_begun_after_an_error_that_ends_the_account() -> None:
    begun: list[str] = []

    def get(message_id: str, _: Admit) -> RawMessage:
        begun.append(message_id)
        if message_id == "7":
            raise AccountError("parked")
        return message(message_id)

    handed_out = []
    with pytest.raises(AccountError):
        for message_id, _ in fetch_all(map(str, range(100)), get, threads=1, max_waiting_bytes=1_000):
            handed_out.append(message_id)

    assert begun == [str(number) for number in range(8)]
    assert handed_out == begun[:7]


def test_gmail_that_fails_throughout_ends_the_work_instead_of_trying_every_message(
    gmail: Simulator, box: Mailbox, clock: Clock
) -> None:
    ids = [box.add() for _ in range(500)]
    client = make_client(gmail.url, Tokens(box.token), clock, max_in_flight=5, patience=Patience(attempts=2))
    gmail.fail_next(status=503, reason="backendError", times=-1)
    failed = []

    with pytest.raises(ServerError):
        for message_id, _ in client.get_raw_messages(ids):
            failed.append(message_id)

    assert 10 <= len(failed) <= 20


def test_ids_are_read_no_further_than_twice_the_threads_ahead() -> None:
    read = 0

    def ids() -> Iterator[str]:
        nonlocal read
        for number in range(1_000):
            read += 1
            yield str(number)

    results = fetch_all(ids(), lambda message_id, _: message(message_id), threads=4, max_waiting_bytes=1_000)
    next(results)

    assert read <= 9
    results.close()  # type: ignore[attr-defined]


def test_error_in_reading_the_ids_is_raised_after_what_was_begun() -> None:
    def ids() -> Iterator[str]:
        yield from ("1", "2", "3")
        raise RuntimeError("no more ids")

    handed_out = []
    with pytest.raises(RuntimeError, match="no more ids"):
        for message_id, _ in fetch_all(
            ids(), lambda message_id, _: message(message_id), threads=2, max_waiting_bytes=1_000
        ):
            handed_out.append(message_id)

    assert sorted(handed_out) == ["1", "2", "3"]


def test_finished_mail_that_waits_is_bounded_in_bytes() -> None:
    finished: list[str] = []

    def get(message_id: str, _: Admit) -> RawMessage:
        finished.append(message_id)
        return message(message_id, 1_000)

    results = fetch_all(map(str, range(500)), get, threads=4, max_waiting_bytes=1_000)

    for count, _ in enumerate(results, 1):
        wanted = min(count + 1, 500)
        until(lambda wanted=wanted: len(finished) >= wanted)  # type: ignore[misc]
        assert len(finished) <= count + 1 + 4
    assert len(finished) == 500


def test_large_messages_are_read_one_at_a_time_and_small_ones_go_on() -> None:
    reading, most = 0, 0
    guard = threading.Lock()

    def get(message_id: str, admit: Admit) -> RawMessage:
        nonlocal reading, most
        if int(message_id) % 3:
            return message(message_id, 10)
        admit()
        with guard:
            reading += 1
            most = max(most, reading)
        threading.Event().wait(0.002)
        with guard:
            reading -= 1
        return message(message_id, 5_000)

    results = list(fetch_all(map(str, range(90)), get, threads=6, max_waiting_bytes=8_000))

    assert len(results) == 90
    assert most == 1


def test_large_bodies_wait_at_the_wire_while_the_consumer_is_busy(clock: Clock) -> None:
    """No more than the bound and one message leave the server, but for what the sockets hold (up to 6 MB each)."""
    text = base64.urlsafe_b64encode(bytes(12_000_000))
    left: dict[str, int] = {}

    def script(seen: Seen) -> Answer:
        message_id = seen.path.split("/messages/")[1].partition("?")[0]

        def pieces() -> Iterator[bytes]:
            yield b'{"id": "%s", "threadId": "t", "internalDate": "1", "raw": "' % message_id.encode()
            for start in range(0, len(text), 500_000):
                left[message_id] = start
                yield text[start : start + 500_000]
            left[message_id] = len(text)
            yield b'"}'

        return Answer(200, pieces(), chunked=True)

    def read_whole() -> int:
        return sum(size > 12_000_000 for size in left.values())

    with Wire(script) as wire:
        client = make_client(wire.url, Tokens("t"), clock, max_in_flight=4)
        results = client.get_raw_messages(f"m{number}" for number in range(10))
        first = next(results)
        until(lambda: read_whole() >= 4)
        threading.Event().wait(0.3)
        whole = read_whole()
        rest = list(results)

    assert whole <= 1 + 32 // 12 + 2
    assert all(isinstance(result, RawMessage) and len(result.raw) == 12_000_000 for _, result in [first, *rest])
    assert len(rest) == 9


def test_abandoned_fetch_stops(gmail: Simulator, client: GmailClient, box: Mailbox) -> None:
    ids = [box.add() for _ in range(300)]
    before = {thread for thread in threading.enumerate() if thread.name.startswith("gmail-fetch")}

    results = client.get_raw_messages(ids)
    next(results)
    results.close()  # type: ignore[attr-defined]

    until(lambda: not {t for t in threading.enumerate() if t.name.startswith("gmail-fetch")} - before)
    assert gmail.calls("messages.get") < 60


def test_refusal_that_closes_the_quota_stops_calls_that_wait(
    gmail: Simulator, client: GmailClient, box: Mailbox
) -> None:
    ids = [box.add() for _ in range(100)]
    gmail.fail_next(status=403, reason="dailyLimitExceeded", message="Daily Limit Exceeded", after=20, times=-1)

    with pytest.raises(QuotaError):
        list(client.get_raw_messages(ids))

    assert gmail.calls("messages.get", status=403) <= 10
