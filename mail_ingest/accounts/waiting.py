"""How long an account that keeps failing is left alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from mail_ingest.accounts.account import AccountState

#: Failed syncs in a row before the first wait: one or two are bad luck.
FIRST_WAIT_AFTER = 3
#: Failed syncs in a row from which the account is shown as `cooling_down`.
COOLING_DOWN_AFTER = 5
#: Waits in minutes after the third failure in a row, the fourth, and so on; the last one from then on.
WAITS_MIN = (5, 10, 30, 40, 80, 160, 240)


def wait_after(failures: int) -> timedelta | None:
    """The wait that so many failed syncs in a row bring; None where the next sync may come at once."""
    if failures < FIRST_WAIT_AFTER:
        return None
    return timedelta(minutes=WAITS_MIN[min(failures - FIRST_WAIT_AFTER, len(WAITS_MIN) - 1)])


def after_failure(state: AccountState, failures: int, error_class: str | None, now: datetime) -> dict[str, Any]:
    """Columns of an account whose syncs have failed so many times in a row."""
    values: dict[str, Any] = {"consecutive_failures": failures}
    wait = wait_after(failures)
    if wait is None or state not in ("active", "cooling_down"):
        return values
    values["next_due_at"] = now + wait
    if failures >= COOLING_DOWN_AFTER:
        values |= {
            "state": "cooling_down",
            "state_reason": f"{failures} failed syncs in a row, the last with {error_class or 'an error'}",
            "resume_at": now + wait,
        }
        if state != "cooling_down":
            values["state_since"] = now
    return values


def fresh_start(now: datetime) -> dict[str, Any]:
    """Columns of an account that is active from now on, and due at once."""
    return {
        "state": "active",
        "state_reason": "",
        "state_since": now,
        "consecutive_failures": 0,
        "resume_at": None,
        "next_due_at": None,
        "watch_tried_at": None,
    }
