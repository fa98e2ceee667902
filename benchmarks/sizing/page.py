"""docs/sizing.md: what to buy for 10 to 100,000 mailboxes, with every input and formula on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

from benchmarks.sizing.figures import Figures
from mail_ingest.gmail.leasing import Shares
from mail_ingest.gmail.quota import PROFILES
from mail_ingest.ingest.side_by_side import IN_FLIGHT
from mail_ingest.settings import Settings, load_settings

#: The text of the page, for `str.format`.
TEMPLATE = Path(__file__).with_name("page.md")
FLEETS = (10, 1_000, 10_000, 100_000)
_HOURS, _DAYS = 24, 365
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody has measured, and what one may choose."""

    messages_an_hour: int = 10
    stored_before: int = 20_000
    accounts_a_run: int = 500
    answer_s: float = 0.1
    calm: float = 0.5
    places_a_machine: int = 4
    postgres_gb_a_core: int = 4
    disk_room: float = 1.5


@dataclass(frozen=True, slots=True)
class Size:
    """What one fleet needs."""

    mailboxes: int
    units_a_day: float
    share_of_a_line: float
    projects: int
    cpu_s_an_hour: float
    waiting_s_an_hour: float
    places: int
    machines: int
    worker_gb: float
    postgres_cores: int
    postgres_gb: int
    database_gb_at_first: float
    database_gb_a_year: float
    archive_gb_at_first: float
    archive_gb_a_year: float
    event_gb_a_month: float
    backfill_days: float


def size(mailboxes: int, figures: Figures, assumed: Assumptions, settings: Settings) -> Size:
    """The figures of a fleet whose mailboxes are all busy, every hour."""
    line = _line()
    units_an_hour = mailboxes * units_of_an_hour(figures, assumed)
    units_a_day = units_an_hour * _HOURS
    shares = Shares.of(settings.quota_share, settings.quota_reserve, settings.backfill_share)
    projects = ceil(units_a_day / (line * shares.scheduled))
    runs = ceil(mailboxes / assumed.accounts_a_run)
    cpu_s = mailboxes * figures.busy_cpu_ms / 1e3 + runs * figures.run_cpu_s
    # those of a shard wait side by side
    waiting_s = mailboxes * _rounds(assumed) * assumed.answer_s / settings.accounts_at_once
    places = max(ceil((cpu_s + waiting_s) / (3_600 * assumed.calm)), 1)
    stored, a_year = mailboxes * assumed.stored_before, mailboxes * assumed.messages_an_hour * _HOURS * _DAYS
    # a mailbox sells so many messages a minute; backfills take a project's day up to their share, the syncs' units included
    left = max(projects * line * shares.backfill - units_a_day, 0.0)
    of_mailbox = _limit() * shares.backfill * 60 * _HOURS / figures.content_units
    of_project = left / figures.content_units / mailboxes
    postgres_cpu_s = mailboxes * figures.postgres_busy_cpu_ms / 1e3
    return Size(
        mailboxes=mailboxes,
        units_a_day=units_a_day,
        share_of_a_line=units_a_day / line,
        projects=projects,
        cpu_s_an_hour=cpu_s,
        waiting_s_an_hour=waiting_s,
        places=places,
        machines=ceil(places / assumed.places_a_machine),
        worker_gb=min(places, assumed.places_a_machine) * figures.run_peak_mb / 1e3,
        postgres_cores=max(ceil(postgres_cpu_s / (3_600 * assumed.calm)), 1),
        postgres_gb=max(ceil(postgres_cpu_s / (3_600 * assumed.calm)), 1) * assumed.postgres_gb_a_core,
        database_gb_at_first=stored * figures.database_bytes * assumed.disk_room / _GB,
        database_gb_a_year=a_year * figures.database_bytes * assumed.disk_room / _GB,
        archive_gb_at_first=stored * figures.archive_bytes / _GB,
        archive_gb_a_year=a_year * figures.archive_bytes / _GB,
        event_gb_a_month=runs * _HOURS * 30 * figures.run_event_bytes / _GB,
        backfill_days=assumed.stored_before / min(of_mailbox, of_project) if left else inf,
    )


def units_of_an_hour(figures: Figures, assumed: Assumptions) -> float:
    """Of one busy mailbox: what was measured, with as many messages as are assumed."""
    costs = PROFILES["2026"].costs
    return figures.busy_units + (assumed.messages_an_hour - figures.busy_messages) * costs["messages.get"]


def _line() -> int:
    line = PROFILES["2026"].per_project_day
    assert line is not None
    return line


def page(figures: Figures, assumed: Assumptions = Assumptions(), settings: Settings | None = None) -> str:
    """The page, as it lies in docs."""
    settings = settings or load_settings({})
    shares = Shares.of(settings.quota_share, settings.quota_reserve, settings.backfill_share)
    sizes = [size(mailboxes, figures, assumed, settings) for mailboxes in FLEETS]
    hour = units_of_an_hour(figures, assumed)
    ends = _line() / (hour * _HOURS)
    rows: list[tuple[str, Callable[[Size], str]]] = [
        ("units a day", lambda one: _millions(one.units_a_day)),
        ("of one project's daily line", lambda one: f"{one.share_of_a_line:.1%}"),
        ("Google projects", lambda one: f"{one.projects:,}"),
        ("CPU of workers, s an hour", lambda one: _count(one.cpu_s_an_hour)),
        ("waiting for Gmail, s an hour", lambda one: _count(one.waiting_s_an_hour)),
        ("runs at a time", lambda one: f"{one.places:,}"),
        (f"machines of {assumed.places_a_machine} cores", lambda one: f"{one.machines:,}"),
        ("memory of each for runs, GB", lambda one: f"{one.worker_gb:.1f}"),
        ("Postgres: cores", lambda one: f"{one.postgres_cores:,}"),
        ("Postgres: memory, GB", lambda one: f"{one.postgres_gb:,}"),
        ("Postgres: disk at first, GB", lambda one: _gigabytes(one.database_gb_at_first)),
        ("Postgres: disk a year more, GB", lambda one: _gigabytes(one.database_gb_a_year)),
        ("raw archive at first, GB", lambda one: _gigabytes(one.archive_gb_at_first)),
        ("raw archive a year more, GB", lambda one: _gigabytes(one.archive_gb_a_year)),
        ("Dagster's events, GB for 30 days", lambda one: _gigabytes(one.event_gb_a_month)),
        ("days to buy all older content", lambda one: _days(one.backfill_days)),
    ]
    table = [
        "| mailboxes | " + " | ".join(f"{one.mailboxes:,}" for one in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
        *(f"| {name} | " + " | ".join(cell(one) for one in sizes) + " |" for name, cell in rows),
    ]
    return TEMPLATE.read_text().format(
        figures=figures,
        assumed=assumed,
        settings=settings,
        table="\n".join(table),
        line=_line(),
        limit=_limit(),
        shares=shares,
        in_flight=IN_FLIGHT,
        hour=hour,
        hours=_HOURS,
        ends=ends,
        ends_at_share=ends * shares.scheduled,
        rounds=_rounds(assumed),
        a_year=assumed.messages_an_hour * _HOURS * _DAYS,
        mean_kb=figures.mean_message_bytes / 1e3,
        database_kb=figures.database_bytes / 1e3,
        archive_kb=figures.archive_bytes / 1e3,
        event_kb=figures.run_event_bytes / 1e3,
    )


def _limit() -> int:
    limit = PROFILES["2026"].per_user_minute
    assert limit is not None
    return limit


def _rounds(assumed: Assumptions) -> int:
    """Answers that a busy mailbox waits for one after another: profile, labels, history, and so many messages at a time."""
    return 3 + ceil(assumed.messages_an_hour / IN_FLIGHT)


def _days(value: float) -> str:
    return "needs more projects" if value == inf else f"{value:,.1f}"


def _millions(value: float) -> str:
    return f"{value / 1e6:,.2f} M"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _gigabytes(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
