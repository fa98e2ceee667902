import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.gmail import PROFILES, parse_quota


def test_profiles_carry_the_published_costs_and_limits() -> None:
    current, previous = parse_quota("2026"), parse_quota("previous")

    assert (current.per_user_minute, current.per_project_minute, current.per_project_day) == (
        6_000,
        1_200_000,
        80_000_000,
    )
    assert (previous.per_user_minute, previous.per_project_minute, previous.per_project_day) == (
        15_000,
        1_200_000,
        None,
    )
    assert dict(current.costs) == {
        "getProfile": 1,
        "labels.list": 1,
        "labels.get": 1,
        "messages.list": 5,
        "messages.get": 20,
        "history.list": 2,
    }
    assert {method for method in current.costs if current.costs[method] != previous.costs[method]} == {"messages.get"}
    assert previous.costs["messages.get"] == 5


def test_off_limits_nothing_and_still_knows_what_calls_cost() -> None:
    assert PROFILES["off"].is_off
    assert not PROFILES["2026"].is_off
    assert PROFILES["off"].costs["messages.get"] == 20


def test_custom_budget_starts_from_2026() -> None:
    mixed = parse_quota("user=15000, costs=2026, day=none")
    cheap = parse_quota("costs=previous,user=3000,project=60000,day=1000000,messages.list=6")

    assert (mixed.per_user_minute, mixed.per_project_minute, mixed.per_project_day) == (15_000, 1_200_000, None)
    assert mixed.costs["messages.get"] == 20
    assert (cheap.per_user_minute, cheap.per_project_minute, cheap.per_project_day) == (3_000, 60_000, 1_000_000)
    assert (cheap.costs["messages.get"], cheap.costs["messages.list"]) == (5, 6)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("fast", "no key=value pair"),
        ("", "no key=value pair"),
        ("user=6000,", "no key=value pair"),
        ("users=6000", "'users' is no key"),
        ("user=many", "no positive whole number"),
        ("user=0", "no positive whole number"),
        ("user=-5", "no positive whole number"),
        ("user=1,user=2", "given twice"),
        ("costs=2027", "no cost table"),
        ("user=19", "cannot pay a single call"),
        ("project=19", "cannot pay a single call"),
    ],
)
def test_what_cannot_be_a_budget_is_refused_with_what_can(spec: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_quota(spec)

    assert why in str(caught.value)
    assert "it takes 2026, previous, off" in str(caught.value)
