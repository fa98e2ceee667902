"""What people set and the analyst SQL reads: schema `mail_config`.

    business_hours     one row per weekday on which people work, from MAIL_INGEST_BUSINESS_HOURS
    holidays           days on which nobody works; people insert them, nothing here does
    internal_domains   domains of one's own people, from MAIL_INGEST_INTERNAL_DOMAINS
    hashed_domains     the keyed hashes of internal and of accounts' own domains, for the privacy tier `hashed`
    local_day(moment)  the day of a moment in the configured time zone
    from_local(time)   the moment of a local time in it

The time zone is inside two functions, not in a table: databases see a constant then, and convert a million times in a
second. What is set stands in the warehouse because views and people's own queries need it as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mail_ingest.settings import BusinessHours, Settings, parse_business_hours
from mail_ingest.warehouse.connection import Connection, transaction
from mail_ingest.warehouse.marts import quote

SCHEMA = "mail_config"
_TABLES = {
    "business_hours": (
        "weekday integer not null, opens_minute integer not null, closes_minute integer not null",
        "One row per weekday (Monday is 1) with business hours, in minutes since midnight. Set by MAIL_INGEST_BUSINESS_HOURS.",
    ),
    "holidays": (
        "day date not null, name varchar",
        "One row per day without business hours. Insert yours; the next build of the analyst tables takes them in.",
    ),
    "internal_domains": (
        "domain varchar not null",
        "One row per domain of one's own people, in lower case. Set by MAIL_INGEST_INTERNAL_DOMAINS.",
    ),
    "hashed_domains": (
        "domain varchar not null, hashed_domain varchar not null",
        "One row per domain of one's own, with its keyed hash; empty where no account has the privacy tier hashed.",
    ),
}
#: Names and types of the columns of each table, by its name with the schema.
COLUMNS: Mapping[str, Mapping[str, str]] = {
    f"{SCHEMA}.{name}": dict(column.split()[:2] for column in columns.split(", "))
    for name, (columns, _) in _TABLES.items()
}
_LOCAL_DAY = "cast(moment at time zone {zone} as date)"
_FROM_LOCAL = "local_time at time zone {zone}"
_PURE = "language sql immutable parallel safe return"
_FUNCTIONS = {
    "duckdb": (
        f"create or replace macro {SCHEMA}.local_day(moment) as {_LOCAL_DAY}",
        f"create or replace macro {SCHEMA}.from_local(local_time) as {_FROM_LOCAL}",
    ),
    "postgres": (
        f"create or replace function {SCHEMA}.local_day(moment timestamptz) returns date {_PURE} {_LOCAL_DAY}",
        f"create or replace function {SCHEMA}.from_local(local_time timestamp) returns timestamptz {_PURE} {_FROM_LOCAL}",
    ),
}


@dataclass(frozen=True)
class Configuration:
    """What is set by the environment."""

    hours: BusinessHours
    internal_domains: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Configuration:
        return cls(parse_business_hours(settings.business_hours), settings.internal_domains)

    @property
    def digest(self) -> str:
        return _digest([self])


DEFAULT = Configuration(parse_business_hours("Mon-Fri 09:00-17:00 UTC"))


def write_configuration(connection: Connection, configuration: Configuration, dialect: str) -> None:
    """Makes the schema, and brings everything but the holidays up to what is set."""
    hours = configuration.hours
    connection.execute(f"create schema if not exists {SCHEMA}")
    for name, (columns, description) in _TABLES.items():
        connection.execute(f"create table if not exists {SCHEMA}.{name} ({columns})")
        connection.execute(f"comment on table {SCHEMA}.{name} is {quote(description)}")
    for function in _FUNCTIONS[dialect]:
        connection.execute(function.format(zone=quote(hours.time_zone)))
    connection.execute(f"delete from {SCHEMA}.business_hours")
    for weekday in hours.weekdays:
        connection.execute(
            f"insert into {SCHEMA}.business_hours values (?, ?, ?)", [weekday, hours.opens_minute, hours.closes_minute]
        )
    connection.execute(f"delete from {SCHEMA}.internal_domains")
    for domain in configuration.internal_domains:
        connection.execute(f"insert into {SCHEMA}.internal_domains values (?)", [domain])


def write_hashed_domains(connection: Connection, hashed: Mapping[str, str]) -> None:
    """Brings the hashes of domains up to these, by domain; writes nothing where they are the same."""
    stored = dict(connection.execute(f"select domain, hashed_domain from {SCHEMA}.hashed_domains").fetchall())
    if stored == hashed:
        return
    with transaction(connection):
        connection.execute(f"delete from {SCHEMA}.hashed_domains")
        for domain, hashed_domain in sorted(hashed.items()):
            connection.execute(f"insert into {SCHEMA}.hashed_domains values (?, ?)", [domain, hashed_domain])


def configuration_digests(connection: Connection, configuration: Configuration) -> Mapping[str, str]:
    """A digest of each thing that SQL may read here, by its name with the schema. Holidays are what people wrote."""
    digests = {
        f"{SCHEMA}.{name}": _digest(sorted(map(str, connection.execute(f"select * from {SCHEMA}.{name}").fetchall())))
        for name in _TABLES
    }
    zone = _digest([configuration.hours.time_zone])
    return {**digests, f"{SCHEMA}.local_day": zone, f"{SCHEMA}.from_local": zone}


def _digest(rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()
