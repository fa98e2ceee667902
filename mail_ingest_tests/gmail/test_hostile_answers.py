"""A server that speaks for Gmail and means harm: answers without end, bombs, absurd times, ids that are none.

Whatever comes is an error of ours with a text that prints, in bounded time and memory; nothing else is reached with the token.
"""

import gzip
import itertools
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from mail_ingest.errors import ChangedAnswerError, GmailError, QuotaError, ServerError
from mail_ingest.gmail import GmailClient, Patience
from mail_ingest.gmail.refusals import LONGEST_WAIT_S, classify
from mail_ingest.gmail.transport import SMALL_BODY, NetworkError, Transport
from mail_ingest_tests.gmail.stage import (
    EPOCH,
    Answer,
    Clock,
    Seen,
    Tokens,
    Wire,
    error_answer,
    in_turn,
    json_answer,
    make_client,
)

MEGABYTE = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(read_timeout_s=5, largest_body=20 * MEGABYTE)
    yield transport
    transport.close()


@contextmanager
def pouring(pieces: Callable[[], Iterable[bytes]], *, pause_s: float = 0.0) -> Iterator[str]:
    """A server that reads a request and sends what it is given until the client has gone."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                caller.recv(65_536)
                try:
                    for piece in pieces():
                        caller.sendall(piece)
                        time.sleep(pause_s)
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def bomb(size: int) -> Answer:
    """A body of zeros that takes a thousandth on the wire."""
    return Answer(200, gzip.compress(bytes(size), 1), {"content-encoding": "gzip"})


def peak_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_answer_that_inflates_without_end_is_given_up_at_the_bound(transport: Transport) -> None:
    with Wire(in_turn(bomb(100 * MEGABYTE))) as wire:

        def ask() -> None:
            with pytest.raises(NetworkError, match="too large"):
                transport.request(wire.url + "/")

        assert peak_of(ask) < 25 * MEGABYTE


def test_an_answer_is_admitted_before_more_than_a_megabyte_of_it_is_inflated(transport: Transport) -> None:
    class NobodyWaitsError(Exception):
        pass

    def admit() -> None:
        raise NobodyWaitsError

    with Wire(in_turn(bomb(100 * MEGABYTE))) as wire:

        def ask() -> None:
            with pytest.raises(NobodyWaitsError):
                transport.request(wire.url + "/", admit=admit)

        assert peak_of(ask) < 4 * SMALL_BODY


def test_a_page_may_be_no_larger_than_pages_are(clock: Clock) -> None:
    with Wire(in_turn(bomb(70 * MEGABYTE))) as wire, pytest.raises(ServerError, match="too large"):
        make_client(wire.url, Tokens("t"), clock, patience=Patience(attempts=1)).list_labels()


def test_a_refusal_without_end_counts_by_its_status_alone(transport: Transport) -> None:
    with pouring(lambda: [b"HTTP/1.1 403 No\r\n\r\n", *itertools.repeat(b"x" * 65_536, 1_000)]) as url:
        response, body = transport.request(url + "/")

    assert (response.status, body) == (403, b"")
    assert response.wire_bytes < 2 * MEGABYTE


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(lambda: [HEAD, b"0\r\n", *itertools.repeat(b"x-trailer: " + b"y" * 65_536 + b"\r\n", 1_000)], id="trailers"),
        pytest.param(lambda: [HEAD, b"0\r\nx-trailer: ", *itertools.repeat(b"y" * 65_536, 1_000)], id="one trailer"),
        pytest.param(lambda: [HEAD, b"1;x=", *itertools.repeat(b"y" * 65_536, 1_000)], id="chunk extension"),
        pytest.param(lambda: [b"HTTP/1.1 200 OK\r\nx: ", *itertools.repeat(b"y" * 65_536, 1_000)], id="header"),
        pytest.param(lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, 1_000), id="interim answers"),
    ],
)  # fmt: skip
def test_an_answer_that_goes_on_beside_its_body_is_given_up(
    transport: Transport, endless: Callable[[], Iterable[bytes]]
) -> None:
    with pouring(endless) as url:

        def ask() -> None:
            with pytest.raises(NetworkError, match="no HTTP"):
                transport.request(url + "/")

        assert peak_of(ask) < 5 * MEGABYTE


def test_an_answer_that_trickles_is_given_up_although_the_next_byte_always_comes() -> None:
    transport = Transport(read_timeout_s=5, exchange_timeout_s=0.3)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"

    with pouring(lambda: [head, *itertools.repeat(b"x", 1_000)], pause_s=0.02) as url:
        with pytest.raises(NetworkError, match="no answer in time"):
            transport.request(url + "/")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"historyId":' * 100_000,
        b'{"emailAddress": "ada@example.com", "messagesTotal": 1, "threadsTotal": 1, "historyId": ' + b"9" * 5_000 + b"}",
        b'{"emailAddress": "ada@example.com", "messagesTotal": 1, "threadsTotal": 1, "historyId": 1e400}',
        b'{"emailAddress": "ada@example.com", "messagesTotal": 1, "threadsTotal": 1, "historyId": "' + b"9" * 5_000 + b'"}',
        b'{"emailAddress": "ada@example.com", "messagesTotal": 1, "threadsTotal": 1, "historyId": NaN}',
        b'{"emailAddress": "ada@example.com\\u001b]8;;http://x", "messagesTotal": 1, "threadsTotal": 1, "historyId": "7"}',
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b"\x00",
        b"",
    ],
    ids=["depth", "nested", "large number", "infinite", "long digits", "nan", "escapes", "values", "nul", "empty"],
)  # fmt: skip
def test_json_built_to_hurt_is_an_error_of_ours_in_little_memory(clock: Clock, body: bytes) -> None:
    with Wire(in_turn(Answer(200, body))) as wire:

        def ask() -> None:
            with pytest.raises(GmailError) as caught:
                make_client(wire.url, Tokens("t"), clock).get_profile()
            assert str(caught.value).isprintable()

        assert peak_of(ask) < 60 * MEGABYTE


@pytest.mark.parametrize("bad", ["a\x00b", "a\nb", "\x1b[2J", "a\u202eb", "", "a" * 10_000])
def test_ids_that_are_none_fail_the_call_and_are_not_repeated(clock: Clock, bad: str) -> None:
    whole = {"id": "m1", "threadId": "t1", "labelIds": ["INBOX"], "historyId": "7", "internalDate": "1"}
    label = {"id": bad, "name": "n", "type": "user"}
    answers: dict[str, tuple[object, Callable[[GmailClient], object]]] = {
        "message": ({"messages": [{"id": bad, "threadId": "t"}]}, lambda client: client.list_messages()),
        "thread": ({"messages": [{"id": "m1", "threadId": bad}]}, lambda client: client.list_messages()),
        "state": ({**whole, "threadId": bad}, lambda client: client.get_message_state("m1")),
        "label of a message": ({**whole, "labelIds": ["INBOX", bad]}, lambda client: client.get_message_state("m1")),
        "label": ({"labels": [label]}, lambda client: client.list_labels()),
        "history": (
            {"historyId": "9", "history": [{"id": "8", "messagesAdded": [{"message": {"id": bad, "threadId": "t"}}]}]},
            lambda client: client.list_history(1),
        ),
    }
    for name, (answer, ask) in answers.items():
        with Wire(in_turn(json_answer(answer))) as wire, pytest.raises(ChangedAnswerError) as caught:
            ask(make_client(wire.url, Tokens("t"), clock))

        assert "other string" in str(caught.value), name
        assert str(caught.value).isprintable(), name
        assert len(str(caught.value)) < 1_000, name


@pytest.mark.parametrize(
    "odd",
    ["../../../users/eve@example.com/messages/m1", "x?alt=media#y", "'; drop table gmail.messages; --", '"%2e%2e/'],
)
def test_ids_with_characters_of_paths_and_quotes_stay_one_segment_of_the_address(clock: Clock, odd: str) -> None:
    with Wire(lambda _: error_answer(404, "notFound", "no")) as wire:
        client = make_client(wire.url, Tokens("t"), clock)
        for ask in (client.get_raw_message, client.get_message_state, client.get_label):
            with pytest.raises(GmailError):
                ask(odd)

    for seen in wire.seen:
        path = seen.path.partition("?")[0]
        assert path.rsplit("/", 1)[0] in ("/gmail/v1/users/me/messages", "/gmail/v1/users/me/labels")


def test_pages_that_repeat_under_ever_new_tokens_are_given_up(clock: Clock) -> None:
    numbers = itertools.count()
    pages = itertools.cycle([[{"id": f"m{page}", "threadId": "t"}] for page in range(7)])

    def script(_: Seen) -> Answer:
        return json_answer({"messages": next(pages), "nextPageToken": f"t{next(numbers)}"})

    with Wire(script) as wire, pytest.raises(ServerError, match="does not come to an end"):
        list(make_client(wire.url, Tokens("t"), clock).iter_message_ids())

    assert len(wire.seen) == 107


def test_history_that_repeats_under_ever_new_tokens_is_given_up(clock: Clock) -> None:
    numbers = itertools.count()
    record = {"id": "8", "messagesAdded": [{"message": {"id": "m1", "threadId": "t"}}]}

    def script(_: Seen) -> Answer:
        return json_answer({"historyId": "9", "history": [record], "nextPageToken": f"t{next(numbers)}"})

    with Wire(script) as wire, pytest.raises(ServerError, match="does not come to an end"):
        list(make_client(wire.url, Tokens("t"), clock).iter_history(1))

    assert len(wire.seen) == 101


def test_a_page_token_that_fits_no_address_is_refused(clock: Clock) -> None:
    answer = {"messages": [{"id": "m1", "threadId": "t"}], "nextPageToken": "x" * 100_000}

    with Wire(in_turn(json_answer(answer))) as wire, pytest.raises(ChangedAnswerError, match="longer string"):
        list(make_client(wire.url, Tokens("t"), clock).iter_message_ids())


@pytest.mark.parametrize(
    "asked",
    ["9" * 400, "99999999999", "\xb2", "-1", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 99999 23:59:59 GMT",
     "Mon, 1 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 2026 23:59:59 +99999999999", "\x1b[2J", "soon"],
)  # fmt: skip
def test_absurd_waits_are_at_most_a_day(asked: str) -> None:
    for headers, text in (({"retry-after": asked}, ""), ({}, f"Retry after {asked}")):
        body = json.dumps({"error": {"message": text, "errors": [{"reason": "rateLimitExceeded"}]}}).encode()

        refusal = classify(429, headers, body, now=EPOCH)

        assert refusal.retry_at is None or refusal.retry_at <= EPOCH + LONGEST_WAIT_S


@pytest.mark.parametrize("start", ["9" * 400, "\xb2", "-5", "1e999"])
def test_absurd_quota_windows_are_waited_for_as_usual(clock: Clock, start: str) -> None:
    details = [{"metadata": {"window_start_time": start, "quota_unit": "1/min/{project}/{user}"}}]
    refused = error_answer(429, "rateLimitExceeded", "Quota exceeded", details=details)
    profile = {"emailAddress": "a@b.c", "messagesTotal": 1, "threadsTotal": 1, "historyId": "7"}

    with Wire(in_turn(refused, json_answer(profile))) as wire:
        make_client(wire.url, Tokens("t"), clock, quota="2026").get_profile()

    assert sum(clock.naps) < 121


def test_an_account_that_is_told_to_wait_for_millennia_goes_on_tomorrow(clock: Clock) -> None:
    refused = error_answer(429, "userRateLimitExceeded", "User-rate limit exceeded. Retry after 9999-12-31T23:59:59Z")

    with Wire(in_turn(refused)) as wire, pytest.raises(QuotaError) as caught:
        make_client(wire.url, Tokens("t"), clock).get_profile()

    assert caught.value.resume_at <= datetime.fromtimestamp(EPOCH + LONGEST_WAIT_S, UTC)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_token_nowhere(clock: Clock, status: int) -> None:
    with Wire(in_turn(json_answer({}))) as elsewhere:
        moved = Answer(status, b"", {"location": f"{elsewhere.url}/gmail/v1/users/me/profile"})
        with Wire(in_turn(moved)) as wire, pytest.raises(ServerError):
            make_client(wire.url, Tokens("secret-token"), clock).get_profile()

    assert elsewhere.seen == []


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_words_of_a_refusal_are_one_line_that_prints(clock: Clock, status: int) -> None:
    message = (
        "no\r\nERROR all accounts were deleted\x1b[2J\x1b]8;;http://evil.example\x07here\u202e\u2028\x85\x00"
        + "x" * 100_000
    )
    refused = error_answer(status, "forbidden\nreason\x1b[1m", message)

    with Wire(in_turn(refused)) as wire, pytest.raises(GmailError) as caught:
        make_client(wire.url, Tokens("t"), clock).get_profile()

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert caught.value.reason == ""


def test_a_negative_or_absurd_length_is_no_answer(transport: Transport) -> None:
    for length in (b"-1", b"9" * 30, b"1, 2", b"0x10"):
        with pouring(lambda length=length: [b"HTTP/1.1 200 OK\r\ncontent-length: " + length + b"\r\n\r\nbody"]) as url:
            with pytest.raises(NetworkError):
                transport.request(url + "/")
