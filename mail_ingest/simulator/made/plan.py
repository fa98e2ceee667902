"""Decides what a generated mailbox consists of: dates, ids, threads, labels and kinds, before any body exists."""

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import exp
from statistics import NormalDist

from mail_ingest.simulator.mail import ids


class Kind(IntEnum):
    """Who wrote a generated message, which decides its headers."""

    PERSONAL = 0
    BULK = 1
    LIST = 2
    SENT = 3
    DRAFT = 4
    SPAM = 5
    CHAT = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """Columns of a generated mailbox, oldest message first."""

    ids: Sequence[int]
    dates: Sequence[int]
    thread_ids: Sequence[int]
    label_sets: Sequence[int]
    kinds: bytes


_KIND_WEIGHTS = {
    Kind.PERSONAL: 38,
    Kind.BULK: 27,
    Kind.LIST: 15,
    Kind.SENT: 14,
    Kind.DRAFT: 1,
    Kind.SPAM: 4,
    Kind.CHAT: 1,
}
_CATEGORIES = {
    Kind.PERSONAL: ("CATEGORY_PERSONAL",),
    Kind.BULK: ("CATEGORY_PROMOTIONS", "CATEGORY_UPDATES", "CATEGORY_SOCIAL"),
    Kind.LIST: ("CATEGORY_FORUMS", "CATEGORY_UPDATES"),
}
_COMBINATIONS = 3_000
_RECENT_THREADS = 256


def _system_labels(kind: Kind, rng: random.Random) -> set[str]:
    """Labels that Gmail itself would have given, after some years of use."""
    if kind is Kind.SENT:
        return {"SENT"} | ({"INBOX"} if rng.random() < 0.05 else set())
    if kind is Kind.DRAFT:
        return {"DRAFT"}
    if kind is Kind.CHAT:
        return {"CHAT"}
    if kind is Kind.SPAM:
        return {"SPAM"} | ({"UNREAD"} if rng.random() < 0.9 else set())
    labels: set[str] = set()
    if rng.random() < 0.85:
        labels.add(rng.choice(_CATEGORIES[kind]))
    if rng.random() < 0.03:
        labels.add("TRASH")
    elif rng.random() < 0.6:
        labels.add("INBOX")
    for label_id, share in (("UNREAD", 0.3), ("IMPORTANT", 0.2), ("STARRED", 0.03)):
        if rng.random() < share:
            labels.add(label_id)
    return labels


def _user_labels(available: Sequence[str], mean: float, rng: random.Random) -> set[str]:
    """A few user labels, the first ones far more often than the last, `mean` of them on average."""
    count = 0
    remaining = mean
    while remaining > 0 and count < len(available):
        if rng.random() < min(remaining, 0.75):
            count += 1
        remaining -= 0.75
    chosen: set[str] = set()
    while len(chosen) < count:
        chosen.add(available[int(len(available) * rng.random() ** 2)])
    return chosen


def _label_combinations(
    kinds: Sequence[Kind], user_labels: Sequence[str], labels_per_message: float, rng: random.Random
) -> list[set[str]]:
    combinations = [_system_labels(kind, rng) for kind in kinds]
    missing = labels_per_message - sum(map(len, combinations)) / len(combinations)
    eligible = [at for at, kind in enumerate(kinds) if kind not in (Kind.DRAFT, Kind.CHAT, Kind.SPAM)]
    share = missing * len(combinations) / len(eligible)
    for at in eligible:
        combinations[at] |= _user_labels(user_labels, share, rng)
    return combinations


def make_plan(
    count: int,
    *,
    seed: int,
    start_ms: int,
    end_ms: int,
    user_labels: Sequence[str],
    labels_per_message: float,
    messages_per_thread: float,
    number_of_set: Callable[[set[str]], int],
) -> Plan:
    """Plans `count` messages between two moments; the same arguments give the same plan.

    `labels_per_message` counts system and user labels together, as far as there are user labels to reach it.
    """
    rng = random.Random(seed)
    span = max(end_ms - start_ms, count)
    dates = array("q", sorted(start_ms + int(span * rng.random()) for _ in range(count)))
    low_bits = array("I", rng.randbytes(4 * count))
    numbers = array("Q")
    last = 0
    for date, bits in zip(dates, low_bits, strict=True):
        last = max((date << ids.RANDOM_BITS) | (bits >> 12), last + 1)
        numbers.append(last)

    pool_kinds = rng.choices(list(_KIND_WEIGHTS), list(_KIND_WEIGHTS.values()), k=min(_COMBINATIONS, 4 * count + 64))
    combinations = _label_combinations(pool_kinds, user_labels, labels_per_message, rng)
    drawn = rng.choices(range(len(pool_kinds)), k=count)
    # of a small mailbox most combinations are never drawn
    set_numbers = {at: number_of_set(combinations[at]) for at in sorted(set(drawn))}

    return Plan(
        ids=numbers,
        dates=dates,
        thread_ids=_threads(numbers, 1 - 1 / max(1.0, messages_per_thread), rng),
        label_sets=array("I", (set_numbers[at] for at in drawn)),
        kinds=bytes(pool_kinds[at] for at in drawn),
    )


_ARRIVING = {kind: _KIND_WEIGHTS[kind] for kind in (Kind.PERSONAL, Kind.BULK, Kind.LIST, Kind.SPAM)}


def arriving(count: int, rng: random.Random) -> tuple[bytes, list[set[str]]]:
    """Kinds and labels of `count` messages that have just come: most are unread in the inbox."""
    kinds = rng.choices(list(_ARRIVING), list(_ARRIVING.values()), k=count)
    return bytes(kinds), [{"SPAM" if kind is Kind.SPAM else "INBOX", "UNREAD"} for kind in kinds]


def _threads(numbers: Sequence[int], reply_share: float, rng: random.Random) -> Sequence[int]:
    """Each message begins a thread or joins one of the recent ones."""
    thread_ids = array("Q")
    recent: list[int] = []
    for number in numbers:
        if recent and rng.random() < reply_share:
            thread_ids.append(recent[int(len(recent) * rng.random())])
            continue
        thread_ids.append(number)
        if len(recent) < _RECENT_THREADS:
            recent.append(number)
        else:
            recent[int(_RECENT_THREADS * rng.random())] = number
    return thread_ids


@cache
def lognormal_table(mean: float, sigma: float, entries: int = 1024) -> Sequence[int]:
    """Quantiles of a log-normal distribution scaled to a mean: sizes drawn by a uniform index cost one look-up."""
    normal = NormalDist()
    values = [exp(sigma * normal.inv_cdf((at + 0.5) / entries)) for at in range(entries)]
    scale = mean * entries / sum(values)
    return array("I", (max(1, round(scale * value)) for value in values))
