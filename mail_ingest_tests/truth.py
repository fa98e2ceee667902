"""Compares the warehouse with the mailbox's own truth, as the local server knows it."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from mail_ingest.ingest import Engine, SyncOptions, SyncRun
from mail_ingest.simulator import Mailbox
from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.postgres import connected, execute, with_database


def sync(engine: Engine, **options: object) -> SyncRun:
    """Syncs the only account and returns its run; an error fails the test with the error's own words."""
    run = engine.sync(engine.accounts(), SyncOptions(**options))[0]  # type: ignore[arg-type]
    assert not run.error, run.error
    return run


@contextmanager
def opened(warehouse: str) -> Iterator[Connection]:
    """A warehouse by its URL, opened by a person and not by the product."""
    if not warehouse.startswith("duckdb:"):
        with connected(warehouse) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield connection
        return
    with duckdb.connect(warehouse.removeprefix("duckdb:///")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def lose_warehouse(engine: Engine) -> None:
    """The DuckDB file is deleted, or every schema of the database dropped."""
    if engine.warehouse.dialect == "duckdb":
        engine.settings.duckdb_path.unlink()
        return
    rows = execute(engine.settings.warehouse, "select nspname from pg_namespace where nspname ~ '^(gmail|mail)'")
    for (schema,) in rows:
        execute(engine.settings.warehouse, f"drop schema {schema} cascade")


def back_up(engine: Engine, folder: Path) -> Callable[[], None]:
    """Keeps a copy of the warehouse; what comes back puts it in its place."""
    url, path = engine.settings.warehouse, engine.settings.duckdb_path
    if engine.warehouse.dialect == "duckdb":
        shutil.copy(path, folder / "backup.duckdb")
        return lambda: shutil.copy(folder / "backup.duckdb", path)
    name = urlsplit(url).path.removeprefix("/")
    server = with_database(url, "postgres")
    engine.warehouse.close()
    execute(server, f"create database {name}_backup template {name}")

    def restore() -> None:
        execute(server, f"drop database {name} with (force)", f"create database {name} template {name}_backup")
        execute(server, f"drop database {name}_backup")

    return restore


def column_comments(engine: Engine, table: str) -> dict[str, str | None]:
    """The comments on a table's columns."""
    schema, name = table.split(".")
    query = "select column_name, comment from duckdb_columns() where schema_name = ? and table_name = ?"
    if engine.warehouse.dialect == "postgres":
        query = (
            "select column_name, col_description(format('%I.%I', table_schema, table_name)::regclass, ordinal_position) "
            "from information_schema.columns where table_schema = ? and table_name = ?"
        )
    with engine.warehouse.open() as connection:
        return dict(connection.execute(query, [schema, name]).fetchall())


def stored_states(engine: Engine, account_id: str | None = None) -> dict[str, tuple[str, frozenset[str]]]:
    """Live messages, of one account or of the only one: id to thread and labels."""
    with engine.warehouse.open() as connection:
        rows = connection.execute(
            "select message_id, thread_id, cast(label_ids as varchar) from gmail.message_states where not is_deleted "
            "and account_id = coalesce(?, account_id)",
            [account_id],
        ).fetchall()
    assert len({row[0] for row in rows}) == len(rows), "a message has two states"
    return {row[0]: (row[1], frozenset(orjson.loads(row[2]))) for row in rows}


def assert_states_equal(engine: Engine, box: Mailbox) -> None:
    """Ids, threads, label sets and deletion flags are those of the mailbox."""
    truth = {key: (record.thread_id, frozenset(record.label_ids)) for key, record in box.messages().items()}
    account_id = box.address.lower()
    stored = stored_states(engine, account_id)
    assert stored.keys() == truth.keys()
    different = [key for key in truth if truth[key] != stored[key]]
    assert not different, f"{len(different)} messages differ, the first: {truth[different[0]]} {stored[different[0]]}"
    with engine.warehouse.open() as connection:
        deleted = {
            row[0]
            for row in connection.execute(
                "select message_id from gmail.message_states where is_deleted and account_id = ?", [account_id]
            ).fetchall()
        }
        labels = dict(
            connection.execute(
                "select label_id, name from mail.labels where deleted_at is null and account_id = ?", [account_id]
            ).fetchall()
        )
    assert deleted <= set(box.deleted_ids())
    assert labels == {key: label.name for key, label in box.labels().items()}


def assert_contents_equal(engine: Engine, box: Mailbox) -> None:
    """Every live message has its content, once, and the archived bytes are the mailbox's."""
    with engine.warehouse.open() as connection:
        rows = connection.execute(
            "select message_id, sha256, raw_pack from gmail.messages where account_id = ?", [box.address.lower()]
        ).fetchall()
    stored = {row[0]: (row[1], row[2]) for row in rows}
    assert len(stored) == len(rows), "content is stored twice"
    assert stored.keys() >= box.messages().keys()
    for message_id in box.messages():
        sha256, pack = stored[message_id]
        assert sha256 == hashlib.sha256(box.raw(message_id)).hexdigest()
        assert pack is not None
    some = next(iter(box.messages()), None)
    if some is not None:
        archived = engine.archive.read_message(stored[some][1] or "", some)
        assert archived is not None
        assert archived.message.raw == box.raw(some)


def damage(pack: Path) -> None:
    """Changes bytes inside every message of a pack; its footer stays whole, so that it can still be opened."""
    content = bytearray(pack.read_bytes())
    for found in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), bytes(content)):  # where a compressed message begins
        content[found.start() + 12 : found.start() + 60] = bytes(48)
    pack.write_bytes(content)


def assert_deletions_equal(engine: Engine, box: Mailbox) -> None:
    """Every message ever seen is marked deleted if it is, and live if it is not."""
    live, deleted = set(box.messages()), set(box.deleted_ids())
    with engine.warehouse.open() as connection:
        rows = connection.execute("select message_id, is_deleted, deleted_at from gmail.message_states").fetchall()
    assert {row[0] for row in rows} <= live | deleted, "a message that never was"
    assert {row[0] for row in rows if row[1]} == {row[0] for row in rows} & deleted
    assert [row[0] for row in rows if row[1] != (row[2] is not None)] == [], "deleted and deleted_at contradict"


def assert_archive_equal(engine: Engine, box: Mailbox) -> None:
    """Every live message's bytes lie where its row says, and are the mailbox's."""
    with engine.warehouse.open() as connection:
        rows = connection.execute("select raw_pack, message_id from gmail.messages").fetchall()
    live = set(box.messages())
    for pack in {row[0] for row in rows}:
        archived = {held.message.message_id: held.message.raw for held in engine.archive.read_pack(pack)}
        for message_id in {row[1] for row in rows if row[0] == pack} & live:
            assert archived[message_id] == box.raw(message_id)


def exchange(pack: Path) -> None:
    """Puts other bytes into every message of a pack, which nothing but their hash shows."""
    table = pq.read_table(pack)
    other = pa.array([zstandard.compress(b"Subject: other\r\n\r\n")] * table.num_rows, type=pa.binary())
    place = table.schema.get_field_index("raw_zstd")
    pq.write_table(table.set_column(place, table.schema.field(place), other), pack)


def assert_true_to_gmail(engine: Engine, box: Mailbox) -> None:
    """State and content."""
    assert_states_equal(engine, box)
    assert_contents_equal(engine, box)


def assert_exact(warehouse: str, account_id: str, box: Mailbox, *, saw_all: bool = True) -> None:
    """One account's rows in a Postgres warehouse that others share are its mailbox's, each once.

    `saw_all`: no message went before a sync had seen it and bought it.
    """
    where = f"where account_id = '{account_id}'"
    states = execute(
        warehouse, f"select message_id, thread_id, label_ids::text from gmail.message_states {where} and not is_deleted"
    )
    truth = {key: (record.thread_id, frozenset(record.label_ids)) for key, record in box.messages().items()}
    assert {row[0]: (row[1], frozenset(orjson.loads(row[2]))) for row in states} == truth
    assert len(states) == len(truth)
    deleted = execute(warehouse, f"select message_id from gmail.message_states {where} and is_deleted")
    gone = {row[0] for row in deleted}
    contents = dict(execute(warehouse, f"select message_id, sha256 from gmail.messages {where}"))
    assert gone <= set(box.deleted_ids())
    assert truth.keys() <= contents.keys() <= truth.keys() | gone
    if saw_all:
        assert gone == set(box.deleted_ids()) == contents.keys() - truth.keys()
    assert all(contents[key] == hashlib.sha256(box.raw(key)).hexdigest() for key in truth)
    [(authors,)] = execute(warehouse, f"select count(*) from gmail.message_recipients {where} and kind = 'from'")
    assert authors == len(contents)
    [(labels,)] = execute(warehouse, f"select count(*) from mail.labels {where} and deleted_at is null")
    assert labels == len(box.labels())


def assert_analyst_tables_are_built(engine: Engine) -> None:
    """The analyst tables hold what a full build gives, and something at all."""
    tables = [relation for relation in load_relations() if relation.is_table]
    row_hash = {"duckdb": "hash({})", "postgres": "hashtextextended(cast(row({}) as text), 0)"}[
        engine.warehouse.dialect
    ]

    def digests() -> dict[str, tuple[int, int]]:
        with engine.warehouse.open() as connection:
            return {
                relation.name: connection.execute(
                    f"select count(*), sum({row_hash.format(', '.join(relation.columns))}) from {relation.name}"
                ).fetchone()
                for relation in tables
            }

    built = digests()
    engine.build_analyst_tables(is_full=True)
    assert built == digests()
    assert built["mail.messages"][0] > 0
