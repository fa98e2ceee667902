"""Every unsuccessful answer that was seen or documented, and what is to be done about it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mail_ingest.gmail.refusals import Refusal, Remedy, classify
from mail_ingest_tests.gmail.stage import EPOCH


def judge(status: int, body: bytes = b"", **headers: str) -> Refusal:
    return classify(status, headers, body, now=EPOCH)


def envelope(reason: str, message: str, **more: Any) -> bytes:
    first = {"message": message, "domain": "global", "reason": reason}
    return json.dumps({"error": {"code": 0, "message": message, "errors": [first], **more}}).encode()


QUOTA_USER = (
    "Quota exceeded for quota metric 'Total Query Cost' and limit 'Units per minute per user' of service "
    "'gmail.googleapis.com' for consumer 'project_number:123456789012'."
)
QUOTA_OLD = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
    "'gmail.googleapis.com' for consumer 'project_number:123456789012'."
)
NOT_USED = (
    "Gmail API has not been used in project 12 before or it is disabled. Enable it, wait a few minutes and retry."
)


@pytest.mark.parametrize(
    ("status", "reason", "message", "remedy"),
    [
        (400, "badRequest", "Invalid id value", Remedy.GIVE_UP),
        (400, "invalidArgument", "Invalid id value", Remedy.GIVE_UP),
        (400, "invalidArgument", "Missing/invalid parameter: startHistoryId", Remedy.GIVE_UP),
        (400, "failedPrecondition", "Mail service not enabled", Remedy.PARK),
        (400, "failedPrecondition", "Precondition check failed.", Remedy.PARK),
        (401, "authError", "Request had invalid authentication credentials.", Remedy.REFRESH_TOKEN),
        (401, "required", "Request is missing required authentication credential.", Remedy.REFRESH_TOKEN),
        (403, "rateLimitExceeded", QUOTA_USER, Remedy.WAIT_FOR_WINDOW),
        (403, "rateLimitExceeded", QUOTA_OLD, Remedy.WAIT_FOR_WINDOW),
        (403, "rateLimitExceeded", "Rate Limit Exceeded", Remedy.WAIT_FOR_WINDOW),
        (403, "userRateLimitExceeded", "User Rate Limit Exceeded", Remedy.WAIT_FOR_WINDOW),
        (403, "dailyLimitExceeded", "Daily Limit Exceeded", Remedy.WAIT_FOR_DAY),
        (403, "quotaExceeded", "Quota exceeded", Remedy.WAIT_FOR_DAY),
        (403, "domainPolicy", "The domain administrators have disabled Gmail apps.", Remedy.PARK),
        (403, "insufficientPermissions", "Request had insufficient authentication scopes.", Remedy.RECONNECT),
        (403, "forbidden", "Metadata scope doesn't allow format RAW", Remedy.RECONNECT),
        (403, "accessNotConfigured", NOT_USED, Remedy.PARK),
        (403, "forbidden", "Delegation denied for bob@example.com", Remedy.PARK),
        (404, "notFound", "Requested entity was not found.", Remedy.GONE),
        (404, "notFound", "Not Found", Remedy.GONE),
        (429, "rateLimitExceeded", "Too many concurrent requests for user.", Remedy.FEWER_AT_ONCE),
        (429, "rateLimitExceeded", "Too many concurrent requests for user", Remedy.FEWER_AT_ONCE),
        (429, "rateLimitExceeded", "Resource has been exhausted (e.g. check quota).", Remedy.WAIT_FOR_WINDOW),
        (500, "backendError", "Backend Error", Remedy.REPEAT),
        (500, "backendError", "Internal error encountered.", Remedy.REPEAT),
        (503, "backendError", "The service is currently unavailable.", Remedy.REPEAT),
    ],
)
def test_each_documented_refusal_has_its_remedy(status: int, reason: str, message: str, remedy: Remedy) -> None:
    refusal = judge(status, envelope(reason, message))

    assert (refusal.remedy, refusal.reason, refusal.status) == (remedy, reason, status)


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (403, QUOTA_USER, Remedy.WAIT_FOR_WINDOW),
        (403, "User-rate limit exceeded", Remedy.WAIT_FOR_WINDOW),
        (403, "Daily Limit Exceeded", Remedy.WAIT_FOR_DAY),
        (403, "Request had insufficient authentication scopes.", Remedy.RECONNECT),
        (429, "Too many concurrent requests for user.", Remedy.FEWER_AT_ONCE),
        (404, "Requested entity was not found.", Remedy.GONE),
        (400, "Invalid value at 'history_types'", Remedy.GIVE_UP),
    ],
)
def test_text_decides_where_no_reason_is_given(status: int, message: str, remedy: Remedy) -> None:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()

    assert judge(status, body).remedy is remedy


@pytest.mark.parametrize("status", [302, 400, 403, 404, 405, 413, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [b"", b"<html><body>Error</body></html>", b"[]", b'"text"', b'{"error": "text"}', b"{"]
)
def test_what_is_not_in_gmails_envelope_parks_and_deletes_nothing(status: int, body: bytes) -> None:
    assert judge(status, body).remedy is Remedy.REPEAT


def test_bare_429_is_a_matter_of_quota() -> None:
    assert judge(429).remedy is Remedy.WAIT_FOR_WINDOW


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded"])
def test_moment_to_wait_for_is_read_from_the_text(status: int, reason: str) -> None:
    refusal = judge(status, envelope(reason, "User-rate limit exceeded.  Retry after 2026-03-10T17:41:45.544Z"))

    assert refusal.remedy is Remedy.WAIT_UNTIL
    assert refusal.retry_at == datetime(2026, 3, 10, 17, 41, 45, 544000, UTC).timestamp()


def test_retry_after_header_counts_in_both_its_forms() -> None:
    seconds = judge(503, **{"retry-after": "30"})
    date = judge(503, **{"retry-after": "Tue, 10 Mar 2026 17:41:45 GMT"})
    nonsense = judge(503, **{"retry-after": "soon"})

    assert seconds.retry_at == EPOCH + 30
    assert date.retry_at == datetime(2026, 3, 10, 17, 41, 45, tzinfo=UTC).timestamp()
    assert nonsense.retry_at is None


def quota_details(unit: str) -> list[dict[str, Any]]:
    metadata = {"quota_limit": "totalQueryCostPerMinutePerUser", "quota_unit": unit, "window_start_time": "1789912553"}
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED", "metadata": metadata}
    return [{"@type": "type.googleapis.com/google.rpc.Help", "links": []}, info]


def test_window_and_owner_of_an_exhausted_quota_are_read_from_the_details() -> None:
    user = judge(403, envelope("rateLimitExceeded", QUOTA_USER, details=quota_details("1/min/{project}/{user}")))
    project = judge(403, envelope("rateLimitExceeded", QUOTA_USER, details=quota_details("1/min/{project}")))

    assert (user.window_start, user.whole_project) == (1789912553.0, False)
    assert (project.window_start, project.whole_project) == (1789912553.0, True)


def test_text_fit_to_be_shown_holds_no_address_and_nothing_quoted() -> None:
    refusal = judge(
        400, envelope("invalidArgument", 'Bad query "from:bob secret plan" of carol@example.com: ' + "x" * 999)
    )

    assert "bob" not in refusal.text
    assert "secret" not in refusal.text
    assert "carol" not in refusal.text
    assert len(refusal.text) <= 200
