"""The learned bound on calls of one mailbox that are under way at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mail_ingest.gmail.concurrency import InFlight


def succeed(limiter: InFlight, calls: int) -> None:
    for _ in range(calls):
        with limiter.slot():
            limiter.went_well()


def test_no_more_calls_than_the_limit_are_under_way() -> None:
    limiter = InFlight(3)
    under_way, most = 0, 0
    guard = threading.Lock()

    def call(_: int) -> None:
        nonlocal under_way, most
        with limiter.slot():
            with guard:
                under_way += 1
                most = max(most, under_way)
            threading.Event().wait(0.001)
            with guard:
                under_way -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(100)))

    assert most == 3


def test_calls_refused_together_halve_the_limit_once() -> None:
    limiter = InFlight(10)
    with limiter.slot() as one, limiter.slot() as other:
        limiter.refused(one)
        limiter.refused(other)
    with limiter.slot() as later:
        limiter.refused(later)

    assert limiter.limit == 2


def test_limit_never_falls_below_one_call() -> None:
    limiter = InFlight(4)
    for _ in range(5):
        with limiter.slot() as mark:
            limiter.refused(mark)

    assert limiter.limit == 1
    succeed(limiter, 1)


def test_limit_grows_back_by_one_after_many_calls_and_not_beyond_where_it_began() -> None:
    limiter = InFlight(4)
    with limiter.slot() as mark:
        limiter.refused(mark)

    succeed(limiter, 39)
    before = limiter.limit
    succeed(limiter, 1)
    after = limiter.limit
    succeed(limiter, 1_000)

    assert (before, after, limiter.limit) == (2, 3, 4)


def test_slot_is_given_back_after_an_error() -> None:
    limiter = InFlight(1)

    with pytest.raises(RuntimeError), limiter.slot():
        raise RuntimeError

    succeed(limiter, 1)


def test_at_least_one_call_must_be_allowed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        InFlight(0)
