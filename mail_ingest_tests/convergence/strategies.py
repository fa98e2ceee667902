"""How sequences of steps are drawn: everything may happen, in proportions that leave most syncs something to do."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mail_ingest.privacy import TIERS
from mail_ingest_tests.convergence import faults
from mail_ingest_tests.convergence.deaths import POINTS, POINTS_OF_REWRITINGS
from mail_ingest_tests.convergence.steps import (
    Change,
    Conditions,
    Death,
    During,
    EraseContact,
    Expire,
    Fault,
    Round,
    SetDefault,
    SetPrivacy,
    Switch,
    Sync,
)

_small = st.integers(0, 11)


def _weighted(*choices: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of several strategies, each as often as its weight says (`one_of` counts every strategy once)."""
    return st.sampled_from([at for at, (weight, _) in enumerate(choices) for _ in range(weight)]).flatmap(
        lambda at: choices[at][1]
    )


#: Arriving mail first: without mail there is nothing to lose.
_VERBS = (
    "insert", "insert", "insert", "import_old", "import_old", "insert_into_thread", "label", "label", "unlabel", "move",
    "label_many", "unlabel_many", "trash", "untrash", "delete", "empty_trash", "create_label", "create_label",
    "rename_label", "delete_label", "write_draft", "save_draft", "save_draft", "send_draft", "delete_draft",
)  # fmt: skip

_METHODS_OF_A_SYNC = ("getProfile", "labels.list", "labels.get", "messages.list", "messages.get", "history.list")

changes = st.builds(Change, st.sampled_from(_VERBS), _small, _small)

_switches = st.one_of(
    st.builds(Switch, st.just("inner_label_ids"), st.sampled_from(["absent", "current", "as_of_event"])),
    st.builds(
        Switch,
        st.sampled_from(
            [
                "empty_pages", "duplicate_records", "out_of_order_records", "bare_records", "list_inversions",
                "page_by_offset", "label_delete_records", "base64_padding",
            ]
        ),
        st.booleans(),
    ),
)  # fmt: skip

expiries = st.builds(Expire, st.sampled_from([0, 0, 1, 3]))

_expired = st.builds(Fault, st.just("404"), st.just("history.list"), st.just(1), st.integers(0, 2))
_plain_faults = st.builds(
    Fault,
    # a 404 means what it says (see `_expired` and `_vanishing`): Gmail has not been seen to deny what is there
    st.sampled_from([kind for kind in faults.KINDS if kind not in ("timeout", "404")]),
    st.sampled_from(faults.METHODS),
    st.sampled_from([1, 1, 2, 3, 9]),
    st.integers(0, 6),
)
#: Waiting for an answer that does not come takes real time.
_timeouts = st.builds(Fault, st.just("timeout"), st.sampled_from(faults.METHODS), st.just(1), st.integers(0, 6))
_faults = _weighted((18, _plain_faults), (2, _expired), (1, _timeouts))

_meddling = st.builds(
    During,
    st.sampled_from(["before", "after"]),
    st.sampled_from(_METHODS_OF_A_SYNC),
    st.integers(0, 4),
    st.lists(_weighted((5, changes), (1, expiries)), min_size=1, max_size=4).map(tuple),
)
_vanishing = st.builds(
    During, st.just("before"), st.just("messages.get"), st.integers(0, 3), st.just((Change("delete_asked_for"),))
)

_deaths = st.sampled_from(list(POINTS)).flatmap(
    lambda point: st.builds(Death, st.just(point), st.integers(1, POINTS[point]))
)

_trouble = st.lists(_weighted((3, _faults), (3, _meddling), (1, _vanishing)), min_size=1, max_size=3).map(tuple)

syncs = st.builds(
    Sync,
    st.sampled_from(["auto", "auto", "auto", "full", "month", "limited", "states"]),
    st.integers(0, 2),
    _weighted((1, st.just(())), (1, _trouble)),
    _weighted((3, st.none()), (2, _deaths)),
    st.booleans(),
)

_steps = _weighted((12, changes), (2, _switches), (1, expiries))

_deaths_of_rewritings = _weighted(
    (2, st.none()),
    (
        3,
        st.sampled_from(list(POINTS_OF_REWRITINGS)).flatmap(
            lambda point: st.builds(Death, st.just(point), st.integers(1, POINTS_OF_REWRITINGS[point]))
        ),
    ),
)
_settings = st.builds(
    SetPrivacy,
    st.sampled_from([None, *TIERS, *TIERS]),
    st.sampled_from([None, None, True, False]),
    st.sampled_from([None, None, True, False]),
    _deaths_of_rewritings,
)
_rewritings = _weighted(
    (6, st.none()),
    (3, _settings),
    (1, st.builds(SetDefault, st.sampled_from(TIERS))),
    (2, st.builds(EraseContact, st.integers(0, 2), _deaths_of_rewritings)),
)

rounds = st.builds(Round, st.lists(_steps, min_size=2, max_size=8).map(tuple), syncs, _rewritings)

conditions = st.builds(
    Conditions, st.integers(0, 7), st.sampled_from([200_000, 200_000, 5]), st.sampled_from([1, 1, 4])
)


def histories(*, least: int, most: int) -> st.SearchStrategy[list[Round]]:
    """Lists of rounds, each with one sync."""
    return st.lists(rounds, min_size=least, max_size=most)
