"""Units, windows and the limit of concurrent requests."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mail_ingest.simulator import Simulator
from mail_ingest.simulator.quota import PROFILES, window_start
from mail_ingest_tests.simulator.client import Client

START = 1_789_912_553.0


class World:
    """A simulator on a clock that the test moves."""

    def __init__(self, quota: object = "2026") -> None:
        self.now = START
        self.gmail = Simulator(quota=quota, clock=lambda: self.now)  # type: ignore[arg-type]
        self.gmail.start()
        self.box = self.gmail.add_account("ada@example.com")
        self.client = Client(self.gmail.url, self.box.token)

    def close(self) -> None:
        self.client.close()
        self.gmail.stop()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("profile", "method", "units"),
    [
        ("2026", "messages.get", 20), ("previous", "messages.get", 5),
        ("2026", "threads.get", 40), ("previous", "threads.get", 10),
        ("2026", "messages.list", 5), ("2026", "history.list", 2), ("2026", "getProfile", 1),
        ("2026", "messages.attachments.get", 20), ("2026", "messages.trash", 20), ("2026", "watch", 100),
    ],
)  # fmt: skip
def test_costs(profile: str, method: str, units: int) -> None:
    assert PROFILES[profile].costs[method] == units


def test_every_method_has_a_price_in_every_table() -> None:
    from mail_ingest.simulator.api.methods import METHODS

    for profile in PROFILES.values():
        assert set(profile.costs) == {method.name for method in METHODS}


def test_a_user_gets_six_thousand_units_a_minute_and_then_a_403_that_names_the_window(world: World) -> None:
    message_id = world.box.add()
    statuses = [world.client.get(f"messages/{message_id}", format="minimal").status for _ in range(301)]

    refused = world.client.get("profile")

    assert statuses == [200] * 300 + [403]
    assert world.gmail.units() == 6_000
    error = refused.json["error"]
    assert (error["status"], refused.reason) == ("PERMISSION_DENIED", "rateLimitExceeded")
    assert error["message"] == (
        "Quota exceeded for quota metric 'Total Query Cost' and limit 'Units per minute per user' of service "
        "'gmail.googleapis.com' for consumer 'project_number:123456789012'."
    )
    metadata = error["details"][0]["metadata"]
    assert metadata["quota_limit_value"] == "6000"
    assert 0 <= world.now - int(metadata["window_start_time"]) < 60
    assert "retry-after" not in refused.headers


def test_the_next_window_is_open_again_at_the_moment_the_refusal_tells(world: World) -> None:
    for _ in range(60):
        world.client.post("watch", {"topicName": "projects/p/topics/t"})
    metadata = world.client.get("profile").json["error"]["details"][0]["metadata"]
    opens = int(metadata["window_start_time"]) + 60

    world.now = opens - 0.01
    assert world.client.get("profile").status == 403
    world.now = opens
    assert world.client.get("profile").status == 200


def test_users_have_windows_of_their_own(world: World) -> None:
    other = world.gmail.add_account("bob@example.com")
    for _ in range(60):
        world.client.post("watch", {"topicName": "projects/p/topics/t"})
    client = Client(world.gmail.url, other.token)

    assert world.client.get("profile").status == 403
    assert client.get("profile").status == 200
    assert world.gmail.units("bob@example.com") == 1
    client.close()


def test_windows_are_fixed_minutes_with_a_phase_of_their_own() -> None:
    starts = {window_start("project/ada", START + second) for second in range(180)}

    assert len(starts) in (3, 4)
    assert len({start % 60 for start in starts}) == 1
    assert len({window_start(f"project/{n}", START) % 60 for n in range(50)}) > 10


def test_the_previous_profile_names_its_own_limit() -> None:
    world = World("previous")
    for _ in range(150):
        world.client.post("watch", {"topicName": "projects/p/topics/t"})

    answer = world.client.get("profile")

    assert "'Queries' and limit 'Previous quota: Units per minute per user'" in answer.message
    assert answer.json["error"]["details"][0]["metadata"]["quota_limit_value"] == "15000"
    world.close()


def test_the_project_has_a_window_too_and_a_cap_of_its_owner() -> None:
    tight = World(replace(PROFILES["2026"], per_project_per_minute=3))
    for _ in range(3):
        assert tight.client.get("profile").status == 200
    refused = tight.client.get("profile")
    assert refused.json["error"]["details"][0]["metadata"]["quota_unit"] == "1/min/{project}"
    tight.close()

    capped = World(replace(PROFILES["2026"], per_project_per_day=2))
    assert [capped.client.get("profile").status for _ in range(3)] == [200, 200, 403]
    assert capped.client.get("profile").reason == "dailyLimitExceeded"
    assert sum(capped.gmail.world.quota.day_units.values()) == 2
    capped.close()


def test_a_project_refusal_does_not_use_up_the_units_of_the_user() -> None:
    world = World(replace(PROFILES["2026"], per_user_per_minute=2, per_project_per_minute=1))
    world.client.get("profile")

    refused = [world.client.get("profile").json["error"]["details"][0]["metadata"]["quota_unit"] for _ in range(3)]

    assert refused == ["1/min/{project}"] * 3
    world.close()


def test_errors_cost_their_units_and_refusals_cost_none(world: World) -> None:
    world.client.get("messages/00000000000000ff")
    assert world.gmail.units() == 20

    charging = World(replace(PROFILES["2026"], per_user_per_minute=1, charges_refusals=True))
    charging.client.get("profile")
    charging.client.get("profile")
    assert charging.gmail.units() == 1
    charging.close()


def test_an_unknown_quota_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown quota '2027': one of 2026, previous, off"):
        Simulator(quota="2027")


def test_off_means_no_limit_but_units_are_counted() -> None:
    with Simulator(quota="off") as gmail:
        box = gmail.add_account("ada@example.com")
        client = Client(gmail.url, box.token)
        for _ in range(70):
            assert client.post("watch", {"topicName": "projects/p/topics/t"}).status == 200
        assert gmail.units() == 7_000
        client.close()
