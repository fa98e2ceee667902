"""The ways in which the server fails a call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mail_ingest.simulator import Simulator
from mail_ingest_tests.convergence.steps import Fault

#: Where faults strike: any call, or calls of one method; `token` is the token endpoint.
METHODS = (None, "getProfile", "labels.list", "labels.get", "messages.list", "messages.get", "history.list", "token")

_NEAR_S, _FAR_S = 20.0, 7_200.0
_KINDS: dict[str, dict[str, Any]] = {
    "401": {"status": 401, "reason": "authError"},
    "403 quota": {"status": 403, "reason": "userRateLimitExceeded"},
    "403 quota with its window": {"status": 403, "reason": "rateLimitExceeded", "window_start": True},
    "403 for the day": {"status": 403, "reason": "dailyLimitExceeded"},
    "404": {"status": 404, "reason": "notFound"},
    "429": {"status": 429, "reason": "rateLimitExceeded"},
    "429 concurrent": {
        "status": 429,
        "reason": "rateLimitExceeded",
        "message": "Too many concurrent requests for user.",
    },
    "429 soon": {"status": 429, "reason": "userRateLimitExceeded", "in_s": _NEAR_S},
    "429 later": {"status": 429, "reason": "userRateLimitExceeded", "in_s": _FAR_S},
    "500": {"status": 500, "reason": "backendError"},
    "503": {"status": 503, "reason": "backendError"},
    "503 page": {"kind": "html503"},
    "dropped connection": {"kind": "drop"},
    "truncated": {"kind": "truncate"},
    "timeout": {"kind": "timeout"},
}
KINDS = tuple(_KINDS)


#: What each kind may end a sync with, where it strikes often enough.
_ENDS_WITH = {
    "401": {"AuthError"},
    "403": {"QuotaError"},
    "404": {"GmailError", "AuthError"},
    "429": {"QuotaError", "ConcurrencyError"},
    "500": {"ServerError"},
    "503": {"ServerError"},
    "dropped": {"ServerError"},
    "truncated": {"ServerError"},
    "timeout": {"ServerError"},
}


def may_end_with(fault: Fault) -> set[str]:
    """Classes of errors that a sync with this fault may report."""
    allowed = _ENDS_WITH[fault.kind.split()[0]]
    # the token endpoint has words of its own: what it refuses for good needs a person
    return allowed | {"AuthError", "ServerError"} if fault.method in (None, "token") else allowed


def plan(gmail: Simulator, fault: Fault, now_s: float) -> Any:
    """Plans a fault for the sync that comes; `now_s` is the client's clock, for the moments that answers name."""
    arguments = dict(_KINDS[fault.kind])
    in_s = arguments.pop("in_s", None)
    if in_s is not None:
        arguments["retry_after"] = datetime.fromtimestamp(now_s + in_s, UTC)
    return gmail.fail_next(**arguments, method=fault.method, times=fault.times, after=fault.after)
