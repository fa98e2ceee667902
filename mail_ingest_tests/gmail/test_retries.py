"""What the client does when a call goes wrong: waits, refreshes, slows down, or gives up with the right error."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from mail_ingest.errors import (
    AccountError,
    AuthError,
    ChangedAnswerError,
    ConcurrencyError,
    GmailError,
    MessageGoneError,
    QuotaError,
    ServerError,
)
from mail_ingest.gmail import GmailClient, Patience, QuotaGovernor, RawMessage, Transport, parse_quota
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.stage import (
    ADA,
    EPOCH,
    Answer,
    Clock,
    Script,
    Seen,
    Tokens,
    Wire,
    error_answer,
    in_turn,
    json_answer,
    make_client,
)

PROFILE = {"emailAddress": ADA, "messagesTotal": 1, "threadsTotal": 1, "historyId": "7"}


@pytest.mark.parametrize("kind", ["error", "html503", "drop", "truncate"])
def test_passing_failure_is_repeated_after_1_2_4_seconds_of_jitter(
    gmail: Simulator, client: GmailClient, box: Mailbox, clock: Clock, kind: Any
) -> None:
    message_id = box.add()
    gmail.fail_next(kind=kind, status=503, reason="backendError", method="messages.get", times=2)

    assert client.get_raw_message(message_id).raw == box.raw(message_id)
    assert clock.naps == [1.0, 2.0]


def test_jitter_is_full(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    client = make_client(gmail.url, Tokens(box.token), clock, rand=lambda: 0.25)
    gmail.fail_next(status=500, reason="backendError", times=4)

    client.get_profile()

    assert clock.naps == [0.25, 0.5, 1.0, 2.0]


def test_lasting_failure_ends_as_server_error_after_the_given_tries(
    gmail: Simulator, box: Mailbox, clock: Clock
) -> None:
    client = make_client(gmail.url, Tokens(box.token), clock, patience=Patience(attempts=9, seconds=1_000))
    gmail.fail_next(status=500, reason="backendError", times=-1)

    with pytest.raises(ServerError, match=r"500 backendError.*gave up after 9 tries") as caught:
        client.get_profile()

    assert clock.naps == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0]
    assert (caught.value.account_id, caught.value.status) == (ADA, 500)


def test_lasting_failure_ends_when_the_time_is_up(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    client = make_client(gmail.url, Tokens(box.token), clock, patience=Patience(attempts=99, seconds=60))
    gmail.fail_next(status=500, reason="backendError", times=-1)

    with pytest.raises(ServerError):
        client.get_profile()

    assert sum(clock.naps) <= 60


def test_time_before_the_first_failure_does_not_count(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    """A call may have waited minutes for quota, or for room, before it fails for the first time."""
    client = make_client(gmail.url, Tokens(box.token), clock, patience=Patience(attempts=3, seconds=10))
    gmail.fail_next(status=500, reason="backendError")

    def wait_long() -> None:
        clock.now += 1_000

    gmail.before("getProfile", wait_long, times=1)

    assert client.get_profile().email_address == ADA


def test_unreachable_server_is_a_server_error(clock: Clock) -> None:
    client = make_client("http://127.0.0.1:9", Tokens("t"), clock, patience=Patience(attempts=3))

    with pytest.raises(ServerError, match="ConnectionRefusedError") as caught:
        client.get_profile()

    assert (caught.value.status, caught.value.reason) == (0, "network")
    assert clock.naps == [1.0, 2.0]


def test_server_that_does_not_answer_in_time_is_asked_again(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    client = make_client(gmail.url, Tokens(box.token), clock, transport=Transport(read_timeout_s=0.2))
    gmail.fail_next(kind="timeout", times=1)

    assert client.get_profile().email_address == ADA


def test_retry_after_header_is_honoured(gmail: Simulator, client: GmailClient, clock: Clock) -> None:
    gmail.fail_next(status=503, reason="backendError", retry_after_header=30)

    client.get_profile()

    assert clock.naps == [30.0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html></html>",
        b"[]",
        b"null",
        b'{"id": "m1", "threadId": "t", "raw": "!!", "internalDate": "1"}',
        b'{"id": "m1", "threadId": "t", "raw": "YWFhY", "internalDate": "1"}',
        b'{"id": "m1", "threadId": "t", "raw": "YWFh", "internalDate": "99999999999999999999"}',
        b'{"id": "m2", "threadId": "t", "raw": "YWFh", "internalDate": "1"}',
    ],
)
def test_answer_that_cannot_be_read_is_asked_for_three_times(clock: Clock, body: bytes) -> None:
    with Wire(in_turn(Answer(200, body))) as wire:
        client = make_client(wire.url, Tokens("t"), clock)

        with pytest.raises(ServerError) as caught:
            client.get_raw_message("m1")

    assert caught.value.reason == "malformedAnswer"
    assert len(wire.seen) == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "messages.get.raw: missing"),
        ({"raw": 5}, "messages.get.raw: number instead of string"),
        ({"raw": None}, "messages.get.raw: null instead of string"),
        ({"raw": "", "sizeEstimate": 9}, "messages.get.raw: empty string instead of string"),
        ({"raw": "YWFh"}, "messages.get.internalDate: missing"),
        ({"raw": "YWFh", "internalDate": "soon"}, "messages.get.internalDate: other string instead of digit string"),
        ({"raw": "YWFh", "internalDate": {"ms": 1}}, "messages.get.internalDate: object instead of digit string"),
        ({"raw": "YWFh", "internalDate": True}, "messages.get.internalDate: boolean instead of digit string"),
        ({"raw": "YWFh", "internalDate": 0.5}, "messages.get.internalDate: fraction instead of digit string"),
        (
            {"raw": "YWFh", "internalDate": "1", "labelIds": "INBOX"},
            "messages.get.labelIds: string instead of list of strings",
        ),
        (
            {"raw": "YWFh", "internalDate": "1", "labelIds": [{"id": "INBOX"}, 5]},
            "messages.get.labelIds: list of numbers and objects instead of list of strings",
        ),
        ({"raw": "YWFh", "internalDate": "1", "threadId": 7}, "messages.get.threadId: number instead of string"),
        ({"raw": "YWFh", "internalDate": "1", "snippet": ["x"]}, "messages.get.snippet: list instead of string"),
    ],
)
def test_answer_whose_fields_have_changed_is_asked_for_three_times_and_says_what_has_changed(
    clock: Clock, fields: dict[str, object], reason: str
) -> None:
    with Wire(in_turn(json_answer({"id": "m1", "threadId": "t", **fields}))) as wire:
        client = make_client(wire.url, Tokens("t"), clock)

        with pytest.raises(ChangedAnswerError, match="update mail_ingest") as caught:
            client.get_raw_message("m1")

    assert caught.value.reason == reason
    assert f"messages.get of m1 for {ADA}: Gmail's answer has changed: {reason}." in str(caught.value)
    assert reason in client.findings.lines()
    assert len(wire.seen) == 3


def test_answer_about_another_message_is_never_taken_for_this_one(clock: Clock) -> None:
    other = json_answer({"id": "m2", "threadId": "t", "raw": "YWFh", "internalDate": "1"})
    right = json_answer({"id": "m1", "threadId": "t", "raw": "YmJi", "internalDate": "1"})

    with Wire(in_turn(other, right)) as wire:
        message = make_client(wire.url, Tokens("t"), clock).get_raw_message("m1")

    assert message.raw == b"bbb"


def test_expired_token_is_refreshed_once_and_the_call_repeated(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    old, new = box.issue_token(), box.issue_token(lifetime_s=3_600)
    tokens = Tokens(old + "-expired", new)

    profile = make_client(gmail.url, tokens, clock).get_profile()

    assert profile.email_address == ADA
    assert tokens.refreshes == 1
    assert clock.naps == []


def test_token_that_is_refused_after_a_refresh_needs_a_person(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    tokens = Tokens("bad", "worse", "worst")

    with pytest.raises(AuthError, match="connect the account again") as caught:
        make_client(gmail.url, tokens, clock).get_profile()

    assert tokens.refreshes == 1
    assert (caught.value.status, caught.value.account_id) == (401, ADA)


def test_threads_that_are_refused_together_refresh_once(clock: Clock) -> None:
    tokens = Tokens("expired", "good", "unused")
    together = threading.Barrier(6, timeout=5)

    def script(seen: Seen) -> Answer:
        if seen.headers["authorization"] == "Bearer expired":
            together.wait()
            return error_answer(401, "authError", "Request had invalid authentication credentials.")
        message_id = seen.path.split("/messages/")[1].partition("?")[0]
        return json_answer({"id": message_id, "threadId": "t", "raw": "YWFh", "internalDate": "1"})

    with Wire(script) as wire:
        client = make_client(wire.url, tokens, clock, max_in_flight=6)
        results = dict(client.get_raw_messages(f"m{number}" for number in range(6)))

    assert all(isinstance(result, RawMessage) for result in results.values())
    assert tokens.refreshes == 1
    assert {seen.headers["authorization"] for seen in wire.seen} == {"Bearer expired", "Bearer good"}


class FailingTokens(Tokens):
    """A token server that is down for the first calls."""

    def __init__(self, failures: int, *tokens: str) -> None:
        super().__init__(*tokens)
        self.failures = failures

    def token(self, force_refresh: bool = False) -> str:
        if self.failures:
            self.failures -= 1
            raise ServerError("no token: the token server did not answer", account_id=ADA, reason="tokenServer")
        return super().token(force_refresh)


def test_token_server_that_fails_in_passing_is_asked_again(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    client = make_client(gmail.url, FailingTokens(2, box.token), clock)

    assert client.get_profile().email_address == ADA
    assert clock.naps == [1.0, 2.0]


def test_token_server_that_stays_down_is_a_server_error_not_a_lost_account(gmail: Simulator, clock: Clock) -> None:
    client = make_client(gmail.url, FailingTokens(99, "t"), clock)

    with pytest.raises(ServerError, match="token server"):
        client.get_profile()

    assert gmail.calls() == 0


def test_missing_scope_needs_a_person(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    message_id = box.add()
    client = make_client(gmail.url, Tokens(box.issue_token(["gmail.metadata"])), clock)

    with pytest.raises(AuthError, match=r"gmail\.readonly"):
        client.get_raw_message(message_id)


def test_account_without_gmail_is_told_apart(client: GmailClient, box: Mailbox) -> None:
    box.disable_mail()

    with pytest.raises(AccountError, match="Mail service not enabled"):
        client.get_profile()


def test_domain_policy_and_switched_off_api_are_matters_of_the_account(gmail: Simulator, client: GmailClient) -> None:
    for reason in ("domainPolicy", "accessNotConfigured"):
        gmail.fail_next(status=403, reason=reason, message="The domain administrators have disabled Gmail apps.")

        with pytest.raises(AccountError, match=reason):
            client.get_profile()

    assert gmail.calls() == 2


def test_invalid_id_is_not_repeated(client: GmailClient, gmail: Simulator) -> None:
    with pytest.raises(GmailError) as caught:
        client.get_raw_message("not-an-id")

    assert type(caught.value) is GmailError
    assert caught.value.status == 400
    assert gmail.calls() == 1


def test_proxy_page_with_404_deletes_no_message(clock: Clock) -> None:
    with Wire(in_turn(Answer(404, b"<html>not here</html>"))) as wire:
        client = make_client(wire.url, Tokens("t"), clock, patience=Patience(attempts=2))

        with pytest.raises(ServerError) as caught:
            client.get_raw_message("m1")

    assert not isinstance(caught.value, MessageGoneError)


def test_redirect_is_not_followed(clock: Clock) -> None:
    with Wire(in_turn(json_answer(PROFILE))) as other:
        moved = Answer(302, b"", {"location": f"{other.url}/gmail/v1/users/me/profile"})
        with Wire(in_turn(moved)) as wire, pytest.raises(GmailError, match="302"):
            make_client(wire.url, Tokens("t"), clock).get_profile()

    assert other.seen == []


def limited(status: int, message: str, **more: Any) -> Script:
    return in_turn(error_answer(status, "rateLimitExceeded", message, **more), json_answer(PROFILE))


def test_exhausted_quota_waits_for_the_end_of_gmails_window(
    gmail: Simulator, client: GmailClient, clock: Clock
) -> None:
    gmail.fail_next(status=403, window_start=True)

    client.get_profile()

    assert gmail.calls("getProfile") == 2
    assert 0 < sum(clock.naps) <= 60.5


def test_exhausted_quota_without_a_window_waits_a_minute(clock: Clock) -> None:
    with Wire(limited(429, "Resource has been exhausted (e.g. check quota).")) as wire:
        make_client(wire.url, Tokens("t"), clock).get_profile()

    assert sum(clock.naps) == pytest.approx(60)


def test_window_from_a_clock_that_is_far_off_waits_a_minute(clock: Clock) -> None:
    info = {"metadata": {"window_start_time": str(int(EPOCH) - 4_000)}}

    with Wire(limited(403, "Quota exceeded for quota metric", details=[info])) as wire:
        make_client(wire.url, Tokens("t"), clock).get_profile()

    assert sum(clock.naps) == pytest.approx(60)


def test_quota_that_stays_exhausted_for_three_windows_ends_the_work(clock: Clock) -> None:
    with Wire(in_turn(error_answer(403, "rateLimitExceeded", "Rate Limit Exceeded"))) as wire:
        client = make_client(wire.url, Tokens("t"), clock)

        with pytest.raises(QuotaError) as caught:
            client.get_profile()

    assert len(wire.seen) == 3
    assert caught.value.resume_at == datetime.fromtimestamp(clock.now + 60, UTC)


def test_moment_that_is_near_is_waited_for(clock: Clock) -> None:
    moment = datetime.fromtimestamp(EPOCH + 90, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    with Wire(limited(429, f"User-rate limit exceeded.  Retry after {moment}")) as wire:
        make_client(wire.url, Tokens("t"), clock).get_profile()

    assert sum(clock.naps) == pytest.approx(90)


def test_moment_that_is_far_ends_the_work_of_the_account_at_once(gmail: Simulator, box: Mailbox, clock: Clock) -> None:
    governor = QuotaGovernor(parse_quota("off"), clock=clock, sleep=clock.sleep)
    client = make_client(gmail.url, Tokens(box.token), clock, governor=governor)
    moment = datetime.fromtimestamp(EPOCH + 7_200, UTC)
    gmail.fail_next(status=429, reason="userRateLimitExceeded", retry_after=moment)

    with pytest.raises(QuotaError) as caught:
        client.get_profile()
    with pytest.raises(QuotaError) as again:
        client.list_labels()

    assert caught.value.resume_at == again.value.resume_at == moment
    assert clock.naps == []
    assert gmail.calls() == 1


def test_day_that_is_used_up_ends_until_midnight_in_california(gmail: Simulator, client: GmailClient) -> None:
    gmail.fail_next(status=403, reason="dailyLimitExceeded", message="Daily Limit Exceeded")

    with pytest.raises(QuotaError) as caught:
        client.get_profile()

    assert caught.value.resume_at.hour == 8
    assert 0 < caught.value.resume_at.timestamp() - EPOCH <= 86_400


def test_project_that_is_out_of_quota_stops_its_other_accounts_too(
    gmail: Simulator, box: Mailbox, clock: Clock
) -> None:
    governor = QuotaGovernor(parse_quota("off"), clock=clock, sleep=clock.sleep)
    bob = gmail.add_account("bob@example.com")
    other = make_client(gmail.url, Tokens(bob.token), clock, governor=governor, account_id="bob@example.com")
    info = {"metadata": {"quota_unit": "1/min/{project}", "window_start_time": str(int(EPOCH) - 20)}}
    with Wire(in_turn(error_answer(403, "rateLimitExceeded", "Quota exceeded", details=[info]))) as wire:
        with pytest.raises(QuotaError) as caught:
            make_client(wire.url, Tokens("t"), clock, governor=governor).get_profile()

    other.get_profile()

    assert clock.now >= caught.value.resume_at.timestamp()
    assert gmail.calls() == 1


def test_too_many_at_once_halves_what_is_in_flight_and_recovers_slowly(
    gmail: Simulator, box: Mailbox, clock: Clock
) -> None:
    ids = [box.add() for _ in range(200)]
    governor = QuotaGovernor(parse_quota("off"), clock=clock, sleep=clock.sleep)
    client = make_client(gmail.url, Tokens(box.token), clock, governor=governor, max_in_flight=8)
    limiter = governor.in_flight(ADA, 8)
    gmail.fail_next(status=429, message="Too many concurrent requests for user.")

    client.get_raw_message(ids[0])
    halved = limiter.limit
    results = list(client.get_raw_messages(ids))

    assert halved == 4
    assert 4 < limiter.limit < 8
    assert len(results) == 200
    assert clock.naps == [2.0]
    assert governor.ledger.snapshot(ADA).total().refusals == 1


def test_mailbox_that_stays_crowded_is_a_concurrency_error(gmail: Simulator, client: GmailClient, clock: Clock) -> None:
    gmail.fail_next(status=429, message="Too many concurrent requests for user.", times=-1)

    with pytest.raises(ConcurrencyError):
        client.get_profile()

    assert gmail.calls() == 10
    assert sum(clock.naps) < 120


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 503, "reason": "backendError", "times": 3},
        {"status": 429, "reason": "rateLimitExceeded", "message": "Too many concurrent requests for user", "times": 2},
        {"status": 403, "reason": "rateLimitExceeded", "window_start": True},
        {"status": 429, "reason": "userRateLimitExceeded", "retry_after": datetime.fromtimestamp(EPOCH + 45, UTC)},
    ],
    ids=["server error", "concurrency", "minute", "retry after"],
)
def test_every_wait_is_in_the_ledger(gmail: Simulator, box: Mailbox, clock: Clock, trouble: dict[str, Any]) -> None:
    governor = QuotaGovernor(parse_quota("off"), clock=clock, sleep=clock.sleep)
    client = make_client(gmail.url, Tokens(box.token), clock, governor=governor)
    gmail.fail_next(**trouble)

    client.get_profile()

    assert sum(clock.naps) > 0
    assert governor.ledger.snapshot(ADA).total().waited_s == pytest.approx(sum(clock.naps), abs=0.01)
