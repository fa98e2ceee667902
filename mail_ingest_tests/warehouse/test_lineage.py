"""Lineage of columns: worked out by hand for some, there for all, and never of a column that does not exist."""

from __future__ import annotations

import dagster as dg
import pytest

from mail_ingest.defs.specs import column_lineage, landing_spec, relation_spec
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.lineage import column_parents
from mail_ingest.warehouse.marts import Relation, load_relations

RELATIONS = {relation.name: relation for relation in load_relations()}
#: Columns that are made of no asset's column, and why.
ROOTLESS = {
    "mail.business_calendar": {
        "day": "the days of the years are counted up",
        "is_business_day": "what people set",
        "opens_at": "what people set",
        "closes_at": "what people set",
        "business_seconds_before": "what people set",
    },
}
_INTERVALS, _MESSAGES, _CALENDAR = "mail.label_intervals", "mail.messages", "mail.business_calendar"
_ACTIVITY = "mail.daily_activity"
#: Read out of the files by a person.
BY_HAND = {
    "mail_staging.message_states": {"label_ids": "gmail.message_states.label_ids"},
    "mail_staging.messages": {"load_id": "gmail.messages._dlt_load_id"},
    "mail.messages": {
        "thread_id": "mail_staging.message_states.thread_id",
        "received_on": "mail_staging.messages.internal_date",
        "category": "mail_staging.message_states.label_ids",
        "has_content": "mail_staging.messages.message_id",
    },
    "mail.thread_responses": {
        "account_id": f"{_MESSAGES}.account_id",
        "thread_id": f"{_MESSAGES}.thread_id",
        "message_id": f"{_MESSAGES}.message_id",
        # the place of a row is made of what orders it
        "number": f"{_MESSAGES}: account_id, internal_date, message_id, thread_id",
        "is_first_response": f"{_MESSAGES}: account_id, internal_date, message_id, thread_id",
        "responder_address": f"{_MESSAGES}: account_id, from_address, is_sent",
        "is_sent": f"{_MESSAGES}.is_sent",
        "responded_at": f"{_MESSAGES}.internal_date",
        "to_message_id": f"{_MESSAGES}.message_id",
        "to_address": f"{_MESSAGES}: account_id, from_address, is_sent",
        "waiting_since": f"{_MESSAGES}.internal_date",
        "response_seconds": f"{_MESSAGES}.internal_date",
        "business_seconds": f"{_CALENDAR}: business_seconds_before, closes_at, opens_at; {_MESSAGES}.internal_date",
    },
    "mail.daily_activity": {
        # stretches of one label are counted by account and day, at both of their ends
        "unread_change": f"{_INTERVALS}: account_id, ended_on, label_id, started_on",
        "read_count": f"{_INTERVALS}.end_source",
        "sent_count": f"{_MESSAGES}.is_sent",
    },
    "mail.daily_mailbox": {
        "account_id": f"{_ACTIVITY}.account_id",
        "day": f"{_CALENDAR}.day",
        # summed up day by day: what puts the days in order is no parent
        "unread_count": f"{_ACTIVITY}.unread_change",
        "read_count": f"{_ACTIVITY}.read_count",
        "sent_count": f"{_ACTIVITY}.sent_count",
    },
    "mail.threads": {
        "subject": f"{_MESSAGES}: account_id, internal_date, message_id, subject, thread_id",
        # counted without a condition of their own: deleted messages are left out one step before
        "message_count": f"{_MESSAGES}: account_id, thread_id",
        "unread_count": f"{_MESSAGES}.is_unread",
        "first_message_at": f"{_MESSAGES}.internal_date",
        "last_message_at": f"{_MESSAGES}: internal_date, is_draft",
        "participants": f"{_MESSAGES}.from_address",
        "has_all_content": f"{_MESSAGES}.has_content",
    },
    "mail.labels": {"message_count": "mail.message_labels: account_id, is_deleted, label_id"},
}


def _asset(relation: str) -> dg.AssetKey:
    return dg.AssetKey(relation.split("."))


def _parents(relation: str) -> dict[str, set[str]]:
    lineage = column_lineage(RELATIONS[relation]).deps_by_column
    return {
        column: {f"{'.'.join(dep.asset_key.path)}.{dep.column_name}" for dep in deps}
        for column, deps in lineage.items()
    }


def _written(text: str) -> set[str]:
    found = set()
    for part in text.split("; "):
        table, colon, columns = part.partition(": ")
        found |= {f"{table}.{column}" for column in columns.split(", ")} if colon else {part}
    return found


@pytest.mark.parametrize(("relation", "column"), [(name, column) for name, of in BY_HAND.items() for column in of])
def test_lineage_is_what_a_person_reads_out_of_the_file(relation: str, column: str) -> None:
    assert _parents(relation)[column] == _written(BY_HAND[relation][column])


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_column_has_parents_among_the_columns_of_what_the_relation_reads(relation: str) -> None:
    parents = _parents(relation)
    specs = [landing_spec(table, group="any", about="") for table in LANDING_TABLES]
    specs += [relation_spec(other) for other in load_relations()]
    known = {
        f"{'.'.join(spec.key.path)}.{column.name}"
        for spec in specs
        for column in spec.metadata["dagster/column_schema"].columns
    } | {f"gmail.{table.name}._dlt_load_id" for table in LANDING_TABLES}

    assert {column for column, found in parents.items() if not found} == ROOTLESS.get(relation, {}).keys()
    assert set().union(*parents.values()) <= known
    assert {parent.rpartition(".")[0] for found in parents.values() for parent in found} <= set(
        RELATIONS[relation].reads
    )
    schema = relation_spec(RELATIONS[relation]).metadata["dagster/column_schema"]
    assert list(parents) == [column.name for column in schema.columns]


def test_what_people_set_is_a_parent_though_it_is_no_asset() -> None:
    schema = relation_spec(RELATIONS["mail.business_calendar"]).metadata["dagster/column_schema"]
    described = {column.name: column.description for column in schema.columns}

    assert described["opens_at"].endswith("From `mail_config.business_hours.opens_minute`, `mail_config.holidays.day`.")


@pytest.mark.parametrize("relation", RELATIONS)
def test_descriptions_say_where_columns_come_from(relation: str) -> None:
    spec = relation_spec(RELATIONS[relation])
    parents = _parents(relation)

    for column in spec.metadata["dagster/column_schema"].columns:
        assert column.description
        assert all(f"`{parent}`" in column.description for parent in parents[column.name])


def test_a_branch_of_a_union_and_a_condition_are_parents_and_a_join_is_none() -> None:
    made = Relation(
        "mail.made",
        "One row per case.",
        ("one",),
        ("mail.a", "mail.b"),
        {},
        "with both_of as (select x as one, 1 as two from mail.a union all select y, case when z then w end from mail.b)\n"
        "select both_of.one, both_of.two, 'c' as three from both_of inner join mail.a as joined on joined.x = both_of.one",
    )
    columns = {
        "mail.a": {"x": "text"},
        "mail.b": dict.fromkeys("yzw", "text"),
        "mail.made": dict.fromkeys(("one", "two", "three"), "text"),
    }

    assert column_parents(made, columns) == {
        "one": [("mail.a", "x"), ("mail.b", "y")],
        "two": [("mail.b", "w"), ("mail.b", "z")],
        "three": [],
    }
