"""The client against a Gmail that meters: fixed minutes of its own phase, which the client is never told beforehand."""

from collections import Counter
from collections.abc import Iterator

import pytest

from mail_ingest.errors import QuotaError
from mail_ingest.gmail import GmailClient, QuotaGovernor, RawMessage, parse_quota
from mail_ingest.simulator import Mailbox, QuotaProfile, Simulator
from mail_ingest.simulator.quota import PROFILES, window_start
from mail_ingest_tests.gmail.stage import ADA, Clock, Tokens, make_client

LIMIT = 6_000


@pytest.fixture
def metering(clock: Clock) -> Iterator[Simulator]:
    with Simulator(quota="2026", clock=clock) as simulator:
        yield simulator


def governed(gmail: Simulator, box: Mailbox, clock: Clock, share: float, quota: str = "2026") -> GmailClient:
    governor = QuotaGovernor(parse_quota(quota), share=share, clock=clock, sleep=clock.sleep)
    return make_client(gmail.url, Tokens(box.token), clock, governor=governor, account_id=box.address)


def units_by_window(gmail: Simulator, address: str) -> list[int]:
    """Units charged in each of Gmail's minutes, first to last."""
    key = f"{gmail.world.project}/{address}"
    windows: Counter[int] = Counter()
    for request in gmail.requests:
        windows[window_start(key, request.at_s)] += request.units
    return [windows[start] for start in sorted(windows)]


@pytest.mark.parametrize("address", [ADA, "bob@example.com", "carol@example.com"])
def test_whole_limit_is_spent_to_97_percent_without_one_refusal(
    metering: Simulator, clock: Clock, address: str
) -> None:
    box = metering.add_account(address)
    ids = box.generate(1_200, mean_size_bytes=500)
    client = governed(metering, box, clock, share=1.0)

    for message_id in ids:
        client.get_raw_message(message_id)

    windows = units_by_window(metering, address)
    assert metering.calls(status=403) == 0
    assert max(windows) <= LIMIT
    assert min(windows[1:-1]) >= 0.97 * LIMIT


def test_usual_share_leaves_no_refusal_with_ten_calls_in_flight(metering: Simulator, clock: Clock) -> None:
    box = metering.add_account(ADA)
    ids = box.generate(800, mean_size_bytes=500)

    results = list(governed(metering, box, clock, share=0.8).get_raw_messages(ids))

    assert all(isinstance(result, RawMessage) for _, result in results)
    assert metering.calls(status=403) == 0
    assert len(results) == 800


def test_somebody_else_spending_the_quota_costs_one_wait_and_no_message(metering: Simulator, clock: Clock) -> None:
    box = metering.add_account(ADA)
    ids = box.generate(120, mean_size_bytes=500)
    other = governed(metering, box, clock, share=1.0, quota="off")
    for message_id in (ids * 3)[:298]:
        other.get_raw_message(message_id)
    spent_at = clock.now
    client = governed(metering, box, clock, share=0.8)

    results = dict(client.get_raw_messages(ids))

    assert results.keys() == set(ids)
    assert all(isinstance(result, RawMessage) for result in results.values())
    assert 0 < metering.calls(status=403) <= 10
    assert clock.now - spent_at < 60 + 1.3 * 2_400 / 62.7  # one wait, then a slowed pace


def test_dearer_calls_than_the_profile_says_are_survived(clock: Clock) -> None:
    """An old project that pays the new costs under the old limit, while the client was told the old costs."""
    dear = QuotaProfile({**PROFILES["previous"].costs, "messages.get": 20}, 15_000)
    with Simulator(quota=dear, clock=clock) as gmail:
        box = gmail.add_account(ADA)
        ids = box.generate(1_600, mean_size_bytes=500)

        results = dict(governed(gmail, box, clock, share=0.8, quota="previous").get_raw_messages(ids))

    assert results.keys() == set(ids)
    assert all(isinstance(result, RawMessage) for result in results.values())


def test_project_that_all_accounts_share_is_not_overspent(clock: Clock) -> None:
    tight = QuotaProfile(PROFILES["2026"].costs, 6_000, 9_000)
    governor = QuotaGovernor(parse_quota("user=6000,project=9000"), share=1.0, clock=clock, sleep=clock.sleep)
    with Simulator(quota=tight, clock=clock) as gmail:
        boxes = [gmail.add_account(f"user{number}@example.com") for number in range(3)]
        clients = [
            make_client(gmail.url, Tokens(box.token), clock, governor=governor, account_id=box.address) for box in boxes
        ]
        ids = [box.generate(300, mean_size_bytes=500) for box in boxes]

        for turn in range(300):
            for client, mine in zip(clients, ids, strict=True):
                client.get_raw_message(mine[turn])

        assert gmail.calls(status=403) == 0


def test_ledger_agrees_with_what_gmail_charged(metering: Simulator, clock: Clock) -> None:
    box = metering.add_account(ADA)
    ids = box.generate(30, mean_size_bytes=2_000)
    governor = QuotaGovernor(parse_quota("2026"), clock=clock, sleep=clock.sleep)
    client = make_client(metering.url, Tokens(box.token), clock, governor=governor)

    client.get_profile()
    client.list_labels()
    list(client.iter_message_ids())
    list(client.get_raw_messages(ids))
    list(client.iter_history(client.get_profile().history_id))

    usage = governor.ledger.snapshot(ADA)
    assert usage.total().units == metering.units(ADA)
    assert {method: used.calls for method, used in usage.account(ADA).items()} == metering.requests.by_method()
    assert usage.total().bytes == metering.requests.sent_bytes


def test_owners_daily_cap_stops_the_work_until_the_next_day(clock: Clock) -> None:
    capped = QuotaProfile(PROFILES["2026"].costs, 6_000, 1_200_000, 100)
    with Simulator(quota=capped, clock=clock) as gmail:
        box = gmail.add_account(ADA)
        ids = box.generate(20, mean_size_bytes=500)
        handed_out = []

        with pytest.raises(QuotaError):
            for message_id, _ in governed(gmail, box, clock, share=0.8).get_raw_messages(ids):
                handed_out.append(message_id)

    assert len(handed_out) == 5


def test_a_backfill_leaves_a_sync_of_the_same_mailbox_its_part_and_waits_for_refusals(
    metering: Simulator, clock: Clock
) -> None:
    """Two processes, each with a governor that knows nothing of the other, one call of each in turn."""
    box = metering.add_account(ADA)
    ids = box.generate(600, mean_size_bytes=500)
    backfill, sync = (governed(metering, box, clock, share) for share in (0.6, 0.8))

    for number, message_id in enumerate(ids):
        backfill.get_raw_message(message_id)
        if number % 2:
            sync.get_raw_message(message_id)

    windows = units_by_window(metering, ADA)
    assert metering.calls("messages.get", status=200) == 900
    assert max(windows) <= LIMIT
    # together they want 90 % of the limit: nothing has to be refused
    assert metering.calls(status=403) == 0


def test_what_two_processes_want_beyond_the_limit_is_waited_for(metering: Simulator, clock: Clock) -> None:
    box = metering.add_account(ADA)
    ids = box.generate(600, mean_size_bytes=500)
    backfill, sync = (governed(metering, box, clock, share) for share in (0.6, 0.8))

    for message_id in ids:
        backfill.get_raw_message(message_id)
        sync.get_raw_message(message_id)

    assert metering.calls("messages.get", status=200) == 1_200, "one of them gave up"
    assert metering.calls(status=403) > 0
    assert max(units_by_window(metering, ADA)) <= LIMIT
