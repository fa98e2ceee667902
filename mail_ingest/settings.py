"""The environment, read once into a frozen `Settings`. The only module that reads `os.environ`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mail_ingest.errors import ConfigError
from mail_ingest.privacy.policy import Tier, tier_of

PartitionKind = Literal["month", "day"]

GMAIL_URL = "https://gmail.googleapis.com"
SECRETS_URL = "https://secretmanager.googleapis.com"
DIRECTORY_URL = "https://admin.googleapis.com"
_SCHEMAS = ("gmail", "mail", "mail_build", "mail_config", "mail_ingest", "mail_staging")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_DAYS = 36_500
_LOOPBACK = re.compile(r"^(localhost|127(\.\d{1,3}){3}|::1)$")


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days things are kept that pile up, None for ever; what deletes them is the retention.

    Each is counted from the moment at which a thing was over: a sync or a request ended, a failure was resolved, a label's change
    or a message's deletion was observed, a run of Dagster's finished.
    """

    sync_history: int | None = 90
    requests: int | None = 7
    failures: int | None = None
    label_events: int | None = None
    deleted_mail: int | None = None
    runs: int | None = 30


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, with defaults applied and checked.

    Paths are absolute. `key` and the passwords inside URLs are secret and stay out of `repr`.
    """

    home: Path
    warehouse: str = field(repr=False)
    control: str = field(repr=False)
    raw: str
    html: str = "archive"
    gmail_url: str = GMAIL_URL
    quota: str = "2026"
    log: str = "text"
    env: str = "local"
    key: str = field(default="", repr=False)
    quota_share: float = 0.8
    backfill_share: float = 0.6
    quota_reserve: float = 0.1
    max_in_flight: int = 10
    accounts_at_once: int = 64
    shard_size: int = 500
    shards_at_once: int = 2
    content_start: str = "2004-04"
    partitions: PartitionKind = "month"
    business_hours: str = "Mon-Fri 09:00-17:00 UTC"
    internal_domains: tuple[str, ...] = ()
    secrets_url: str = SECRETS_URL
    directory_url: str = DIRECTORY_URL
    discovery_credentials: str = ""
    discovery_admin: str = ""
    discovery_domain: str = ""
    discovery_include: tuple[str, ...] = ()
    discovery_exclude: tuple[str, ...] = ()
    privacy: Tier = "full"
    keep: Kept = field(default_factory=Kept)
    push_topic: str = ""
    push_subscription: str = ""

    @property
    def is_duckdb(self) -> bool:
        return self.warehouse.startswith("duckdb:")

    @property
    def duckdb_path(self) -> Path:
        """The DuckDB file; only meaningful where `is_duckdb`."""
        return Path(self.warehouse.removeprefix("duckdb:///"))

    @property
    def gmail_is_loopback(self) -> bool:
        return is_loopback(self.gmail_url)


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When people work: ISO weekdays (Monday is 1), minutes since midnight, and the time zone of both and of all days."""

    weekdays: tuple[int, ...]
    opens_minute: int
    closes_minute: int
    time_zone: str


def parse_business_hours(text: str) -> BusinessHours:
    """`Mon-Fri 09:00-17:00 Europe/Berlin`; weekdays may be several, such as `Mon-Thu,Sat`. Raises ValueError."""
    match = re.fullmatch(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d) ([A-Za-z0-9_+/-]+)", text.strip())
    if match is None:
        raise ValueError("cannot be read")
    weekdays: set[int] = set()
    for part in match[1].split(","):
        days = [_WEEKDAYS.index(name) for name in part.lower().split("-") if name in _WEEKDAYS]
        if len(days) != part.count("-") + 1 or len(days) > 2:
            raise ValueError(f"{part!r} are no weekdays")
        weekdays.update(range(days[0] + 1, days[-1] + 2))
        if days[-1] < days[0]:
            raise ValueError(f"{part!r} runs backwards")
    opens, closes = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if not 0 <= opens < closes <= 24 * 60 or int(match[3]) > 59 or int(match[5]) > 59:
        raise ValueError("its hours do not end after they begin, on the same day")
    try:
        ZoneInfo(match[6])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{match[6]!r} is no time zone") from None
    return BusinessHours(tuple(sorted(weekdays)), opens, closes, match[6])


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    return bool(_LOOPBACK.match(urlsplit(url).hostname or ""))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads `MAIL_INGEST_*`. Creates nothing and opens nothing.

    Raises ConfigError naming the variable, what it held (unless secret) and what it takes.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("MAIL_INGEST_HOME") or ".mail_ingest").expanduser().absolute()
    return Settings(
        home=home,
        warehouse=_warehouse(env.get("MAIL_INGEST_WAREHOUSE") or "", home),
        control=env.get("MAIL_INGEST_CONTROL") or f"sqlite:///{home / 'control.sqlite'}",
        raw=env.get("MAIL_INGEST_RAW") or str(home / "raw"),
        html=_choice("MAIL_INGEST_HTML", env.get("MAIL_INGEST_HTML") or "archive", ("archive", "warehouse")),
        gmail_url=_http_url("MAIL_INGEST_GMAIL_URL", env.get("MAIL_INGEST_GMAIL_URL") or GMAIL_URL),
        quota=env.get("MAIL_INGEST_QUOTA") or "2026",
        log=_choice("MAIL_INGEST_LOG", env.get("MAIL_INGEST_LOG") or "text", ("text", "json")),
        env=env.get("MAIL_INGEST_ENV") or "local",
        key=env.get("MAIL_INGEST_KEY") or "",
        quota_share=_number("MAIL_INGEST_QUOTA_SHARE", env.get("MAIL_INGEST_QUOTA_SHARE") or "0.8", 0.01, 1.0),
        backfill_share=_number("MAIL_INGEST_BACKFILL_SHARE", env.get("MAIL_INGEST_BACKFILL_SHARE") or "0.6", 0.01, 1.0),
        quota_reserve=_number("MAIL_INGEST_QUOTA_RESERVE", env.get("MAIL_INGEST_QUOTA_RESERVE") or "0.1", 0.0, 0.9),
        max_in_flight=int(_number("MAIL_INGEST_MAX_IN_FLIGHT", env.get("MAIL_INGEST_MAX_IN_FLIGHT") or "10", 1, 100)),
        accounts_at_once=int(
            _number("MAIL_INGEST_ACCOUNTS_AT_ONCE", env.get("MAIL_INGEST_ACCOUNTS_AT_ONCE") or "64", 1, 200)
        ),
        shards_at_once=int(_number("MAIL_INGEST_SHARDS_AT_ONCE", env.get("MAIL_INGEST_SHARDS_AT_ONCE") or "2", 1, 100)),
        shard_size=int(_number("MAIL_INGEST_SHARD_SIZE", env.get("MAIL_INGEST_SHARD_SIZE") or "500", 1, 10_000)),
        content_start=_month("MAIL_INGEST_CONTENT_START", env.get("MAIL_INGEST_CONTENT_START") or "2004-04"),
        partitions=_partitions(env.get("MAIL_INGEST_PARTITIONS") or "month"),
        business_hours=_business_hours(env.get("MAIL_INGEST_BUSINESS_HOURS") or "Mon-Fri 09:00-17:00 UTC"),
        internal_domains=_domains(env.get("MAIL_INGEST_INTERNAL_DOMAINS") or ""),
        secrets_url=_http_url("MAIL_INGEST_SECRETS_URL", env.get("MAIL_INGEST_SECRETS_URL") or SECRETS_URL),
        directory_url=_http_url("MAIL_INGEST_DIRECTORY_URL", env.get("MAIL_INGEST_DIRECTORY_URL") or DIRECTORY_URL),
        discovery_credentials=env.get("MAIL_INGEST_DISCOVERY_CREDENTIALS") or "",
        discovery_admin=env.get("MAIL_INGEST_DISCOVERY_ADMIN") or "",
        discovery_domain=env.get("MAIL_INGEST_DISCOVERY_DOMAIN") or "",
        discovery_include=_list(env.get("MAIL_INGEST_DISCOVERY_INCLUDE") or ""),
        discovery_exclude=_list(env.get("MAIL_INGEST_DISCOVERY_EXCLUDE") or ""),
        privacy=_tier(env.get("MAIL_INGEST_PRIVACY") or "full"),
        keep=Kept(
            sync_history=_days("MAIL_INGEST_KEEP_SYNC_HISTORY", env.get("MAIL_INGEST_KEEP_SYNC_HISTORY") or "90"),
            requests=_days("MAIL_INGEST_KEEP_REQUESTS", env.get("MAIL_INGEST_KEEP_REQUESTS") or "7"),
            failures=_days("MAIL_INGEST_KEEP_FAILURES", env.get("MAIL_INGEST_KEEP_FAILURES") or "all"),
            label_events=_days("MAIL_INGEST_KEEP_LABEL_EVENTS", env.get("MAIL_INGEST_KEEP_LABEL_EVENTS") or "all"),
            deleted_mail=_days("MAIL_INGEST_KEEP_DELETED_MAIL", env.get("MAIL_INGEST_KEEP_DELETED_MAIL") or "all"),
            runs=_days("MAIL_INGEST_KEEP_RUNS", env.get("MAIL_INGEST_KEEP_RUNS") or "30"),
        ),
        push_topic=_pubsub_name("MAIL_INGEST_PUSH_TOPIC", env.get("MAIL_INGEST_PUSH_TOPIC") or "", "topics"),
        push_subscription=_pubsub_name(
            "MAIL_INGEST_PUSH_SUBSCRIPTION", env.get("MAIL_INGEST_PUSH_SUBSCRIPTION") or "", "subscriptions"
        ),
    )


def variable(name: str, environ: Mapping[str, str] | None = None, *, holds: str = "the account's bearer token") -> str:
    """The value of one named variable, for credentials that are read at run time (`--token-env NAME`, `env://NAME`).

    Raises ConfigError when it is not set. The value is a secret: do not log it.
    """
    value = (os.environ if environ is None else environ).get(name, "")
    if not value:
        raise ConfigError(f"the environment variable {name} is not set; it should hold {holds}")
    return value


@contextmanager
def plain_oauth_on_loopback(*urls: str) -> Iterator[None]:
    """Lets oauthlib, which asks the environment, do without TLS in the block if every URL is one of this machine.

    The variable is the whole process's: nothing else may run a consent flow meanwhile.
    """
    name, before = "OAUTHLIB_INSECURE_TRANSPORT", os.environ.get("OAUTHLIB_INSECURE_TRANSPORT")
    os.environ.pop(name, None)
    if all(is_loopback(url) for url in urls):
        os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _warehouse(url: str, home: Path) -> str:
    if not url:
        return f"duckdb:///{home / 'warehouse.duckdb'}"
    if url.startswith("duckdb:///"):
        path = Path(url.removeprefix("duckdb:///")).expanduser().absolute()
        stem = path.stem.lower()
        if stem in _SCHEMAS or stem.startswith("gmail_staging_"):
            raise ConfigError(
                f"MAIL_INGEST_WAREHOUSE names the file {path.name}: its stem must differ from the schemas "
                f"{', '.join(_SCHEMAS)}, because DuckDB names the database after the file; rename the file"
            )
        return f"duckdb:///{path}"
    if url.startswith(("postgresql://", "postgres://")):
        return "postgresql://" + url.split("://", 1)[1]
    raise ConfigError(
        f"MAIL_INGEST_WAREHOUSE starts with {url.split(':', 1)[0]!r}; it takes duckdb:///relative/file.duckdb, "
        "duckdb:////absolute/file.duckdb or postgresql://user:password@host:port/database"
    )


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it takes one of {', '.join(allowed)}")
    return value


def _tier(value: str) -> Tier:
    try:
        return tier_of(value)
    except ValueError as error:
        raise ConfigError(f"MAIL_INGEST_PRIVACY: {error}") from None


def _number(name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise ConfigError(f"{name} is {value!r}; it takes a number from {low:g} to {high:g}")
    return number


def _days(name: str, value: str) -> int | None:
    if value == "all":
        return None
    # not more: a moment a hundred years ago is one that every database knows
    if not re.fullmatch(r"\d{1,5}", value) or not 1 <= int(value) <= _MOST_DAYS:
        raise ConfigError(f"{name} is {value!r}; it takes days, from 1 to {_MOST_DAYS}, or all to keep everything")
    return int(value)


def _month(name: str, value: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise ConfigError(f"{name} is {value!r}; it takes a month such as 2004-04")
    return value


def _partitions(value: str) -> PartitionKind:
    for kind in get_args(PartitionKind):
        if kind == value:
            return cast("PartitionKind", kind)
    raise ConfigError(f"MAIL_INGEST_PARTITIONS is {value!r}; it takes one of {', '.join(get_args(PartitionKind))}")


def _business_hours(value: str) -> str:
    try:
        parse_business_hours(value)
    except ValueError as error:
        raise ConfigError(
            f"MAIL_INGEST_BUSINESS_HOURS is {value!r}, and {error}; it takes weekdays, hours and a time zone, such as "
            "Mon-Fri 09:00-17:00 Europe/Berlin"
        ) from None
    return value


def _domains(value: str) -> tuple[str, ...]:
    domains = tuple(sorted({part.strip().lower() for part in value.split(",") if part.strip()}))
    wrong = [domain for domain in domains if not re.fullmatch(r"[^\s@'\";]+", domain)]
    if wrong:
        raise ConfigError(
            f"MAIL_INGEST_INTERNAL_DOMAINS names {wrong[0]!r}; it takes domains such as example.com, example.org"
        )
    return domains


def _list(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _pubsub_name(name: str, value: str, kind: str) -> str:
    if value and not re.fullmatch(rf"projects/[^/\s]+/{kind}/[A-Za-z][\w.~+%-]{{2,254}}", value, re.ASCII):
        raise ConfigError(f"{name} is {value!r}; it takes a name such as projects/your-project/{kind}/gmail")
    return value


def _http_url(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{name} is {value!r}; it takes an http or https URL such as {GMAIL_URL}")
    if parts.scheme == "http" and not is_loopback(value):
        raise ConfigError(
            f"{name} is {value!r}; plain http is allowed for loopback addresses only, tokens travel over it"
        )
    return value.rstrip("/")
