"""How long an account that keeps failing is left alone."""

from __future__ import annotations

from datetime import timedelta

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
