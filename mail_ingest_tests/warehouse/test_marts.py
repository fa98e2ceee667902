"""The analyst relations: headers are complete, comments reach the warehouse, both databases can parse the SQL."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from mail_ingest.ingest import Engine
from mail_ingest.ingest.checks import all_checks
from mail_ingest.simulator import Mailbox
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.handing import readings, restricted
from mail_ingest.warehouse.marts import load_relations, sql_folder
from mail_ingest_tests.truth import sync

MARTS = [relation for relation in load_relations() if relation.schema == "mail"]


def test_the_first_tables_are_there() -> None:
    assert {relation.name for relation in MARTS} >= {
        "mail.messages",
        "mail.message_labels",
        "mail.labels",
        "mail.threads",
    }


@pytest.mark.parametrize("relation", MARTS, ids=lambda relation: relation.name)
def test_every_column_is_commented_in_the_warehouse(engine: Engine, relation) -> None:  # type: ignore[no-untyped-def]
    kind = "table" if relation.is_table else "view"
    with engine.warehouse.open() as connection:
        columns = connection.execute(
            "select column_name, comment from duckdb_columns() where schema_name = 'mail' and table_name = ? "
            "order by column_index",
            [relation.short_name],
        ).fetchall()
        comment = connection.execute(
            f"select comment from duckdb_{kind}s() where schema_name = 'mail' and {kind}_name = ?",
            [relation.short_name],
        ).fetchone()
    assert dict(columns) == relation.columns
    assert [name for name, _ in columns] == list(relation.columns)
    assert comment == (relation.description,)


def test_every_landing_table_and_column_is_commented(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=1)
    sync(engine)
    with engine.warehouse.open() as connection:
        commented = dict(
            connection.execute("select table_name, comment from duckdb_tables() where schema_name = 'gmail'").fetchall()
        )
        missing = connection.execute(
            "select table_name, column_name from duckdb_columns() where schema_name = 'gmail' and comment is null "
            "and table_name not like '\\_dlt%' escape '\\'"
        ).fetchall()
    assert {table.name: table.description for table in LANDING_TABLES}.items() <= commented.items()
    assert missing == []


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_both_databases_can_parse_every_file(dialect: str) -> None:
    for relation in load_relations():
        assert sqlglot.parse_one(relation.text, dialect=dialect) is not None
    for check in all_checks():
        assert sqlglot.parse_one(check.text, dialect=dialect) is not None


def test_every_file_is_used() -> None:
    files = [path for layer in ("staging", "marts") for path in (sql_folder() / layer).glob("*.sql")]
    assert len(load_relations()) == len(files)


def test_headers_say_what_the_selects_read() -> None:
    for relation in load_relations():
        read = {
            f"{table.db}.{table.name}" for table in sqlglot.parse_one(relation.select).find_all(exp.Table) if table.db
        }
        assert read == set(relation.reads), relation.name
        changing = {source.name for source in (*relation.changes_from, *relation.changes_through)}
        assert changing <= read, relation.name


def test_a_table_is_renewed_by_columns_of_its_own_and_of_what_it_reads() -> None:
    by_name = {relation.name: relation for relation in load_relations()}
    for relation in by_name.values():
        if relation.is_table and relation.changes_by:
            assert set(relation.changes_by) <= set(relation.columns), relation.name
            assert {len(source.columns) for source in relation.changes_from} == {len(relation.changes_by)}
            assert restricted(relation, "postgres").count("changed_keys") == len(relation.changes_from)
            # a view of the marts is no base for a table: it is made when all tables are there
            assert all(by_name[name].is_table for name in relation.reads if name.startswith("mail."))


def test_what_a_table_takes_from_another_is_listed_and_there() -> None:
    tables = [relation for relation in load_relations() if relation.is_table]
    for relation in tables:
        for reading in readings(relation, tables):
            # what is not listed would not be compared, so nothing else may be read at that place
            assert {*reading.columns, *reading.source.columns} <= set(relation.columns), reading.reader.name
            rests = reading.reader.select.split(f"from {relation.name}\n")[1:]
            assert all(rest.startswith(")") for rest in rests), reading.reader.name


def test_a_sync_with_nothing_stored_leaves_empty_relations(engine: Engine) -> None:
    sync(engine)
    counts = engine.queries.row_counts([relation.name for relation in MARTS])
    assert counts["mail.messages"] == 0


def test_threads_and_labels_count_what_is_there(engine: Engine, box: Mailbox) -> None:
    first = box.add(subject="Plan", sender="a@b.example", to="ada@example.com", body="x", labels=("INBOX", "UNREAD"))
    thread = box.messages()[first].thread_id
    box.add(
        subject="Re: Plan", sender="ada@example.com", to="a@b.example", body="y", labels=("SENT",), thread_id=thread
    )
    gone = box.add(
        subject="Re: Plan", sender="c@b.example", to="a@b.example", body="z", labels=("INBOX",), thread_id=thread
    )
    sync(engine)
    box.delete(gone)
    sync(engine)

    with engine.warehouse.open() as connection:
        row = connection.execute(
            "select subject, message_count, unread_count, sent_count, participant_count, in_inbox, has_all_content "
            "from mail.threads where thread_id = ?",
            [thread],
        ).fetchone()
        labels = dict(connection.execute("select label_id, message_count from mail.labels").fetchall())

    assert row == ("Plan", 2, 1, 1, 2, True, True)
    assert (labels["INBOX"], labels["SENT"]) == (1, 1)
