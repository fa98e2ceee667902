"""A warehouse that is written anew holds what it held, in fewer bytes, and none of those that were deleted."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from mail_ingest.errors import BusyError
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox
from mail_ingest.warehouse.embedded import DuckDBWarehouse
from mail_ingest.warehouse.factory import make_warehouse
from mail_ingest_tests.traces import places_of
from mail_ingest_tests.truth import assert_analyst_tables_are_built, column_comments, sync

SECRET = "the spare key is under the seventh stone"


def deleted_mail(engine: Engine, box: Mailbox) -> None:
    box.generate(10, seed=1)
    for number in range(40):
        box.add(subject=f"n {number}", sender="a@b.example", to=box.address, body=f"{SECRET} {number}.\r\n" * 50)
    sync(engine, content=True)
    engine.archive.erase(box.address)
    with engine.warehouse.open() as connection:
        connection.execute("delete from gmail.messages where body_text like ?", [f"%{SECRET}%"])
    engine.build_analyst_tables()


def definitions(engine: Engine) -> list[object]:
    found: list[object] = []
    with duckdb.connect(str(engine.settings.duckdb_path)) as connection:
        for query in (
            "select schema_name, table_name, sql, comment from duckdb_tables() order by all",
            "select schema_name, view_name, sql, comment from duckdb_views() where not internal order by all",
            "select schema_name, table_name, column_name, comment, is_nullable from duckdb_columns() order by all",
            "select schema_name, function_name, macro_definition from duckdb_functions() where not internal order by all",
            "select schema_name, table_name, constraint_text from duckdb_constraints() order by all",
            "select storage from (select tags['storage_version'] as storage from duckdb_databases() where path is not null)",
        ):
            found += connection.execute(query).fetchall()
    return found


def test_a_file_that_is_written_anew_holds_the_same_and_no_old_bytes(engine: Engine, box: Mailbox) -> None:
    deleted_mail(engine, box)
    path = engine.settings.duckdb_path
    before, size, comments = definitions(engine), path.stat().st_size, column_comments(engine, "mail.messages")
    mode = path.stat().st_mode

    left = engine.warehouse.write_anew(["gmail.messages"])

    assert definitions(engine) == before
    assert column_comments(engine, "mail.messages") == comments
    assert (path.stat().st_size < size, path.stat().st_mode) == (True, mode)
    assert sorted(found.name for found in path.parent.glob("warehouse*")) == [path.name]
    assert any("blocks of the disk" in what for what in left)
    assert places_of(engine, [SECRET]) == []
    assert_analyst_tables_are_built(engine)
    assert sync(engine, mode="full").outcome == "success"


class Watched:
    """A connection that tells of each statement before it runs it."""

    def __init__(self, connection: Any, tell: Callable[[str], None]) -> None:
        self._connection = connection
        self._tell = tell

    def execute(self, query: str, *parameters: object) -> Any:
        self._tell(query)
        return self._connection.execute(query, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_the_new_file_is_its_owners_alone_before_anything_is_written_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"MAIL_INGEST_HOME": str(tmp_path)})
    warehouse, _ = make_warehouse(settings, 1.0, lambda connection, dialect: None)
    assert isinstance(warehouse, DuckDBWarehouse)
    with warehouse.open() as connection:
        connection.execute("create table mail as select 1 as i")
    settings.duckdb_path.chmod(0o644)
    connect, modes = warehouse._connect, []

    def tell(query: str) -> None:
        if query.startswith("copy from database"):
            [fresh] = tmp_path.glob("*.rewritten")
            modes.append(stat.S_IMODE(fresh.stat().st_mode))

    monkeypatch.setattr(warehouse, "_connect", lambda: Watched(connect(), tell))

    warehouse.write_anew([])

    assert modes == [0o600]
    assert stat.S_IMODE(settings.duckdb_path.stat().st_mode) == 0o644, "as its owner had it"


def test_a_reader_that_keeps_the_file_keeps_it_as_it_is(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    deleted_mail(engine, box)
    path = engine.settings.duckdb_path
    content = path.read_bytes()
    impatient = new_engine(wait_s=0.3)
    script = f"import duckdb, sys; c = duckdb.connect({str(path)!r}, read_only=True); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        with pytest.raises(BusyError, match="did not let go"):
            impatient.warehouse.write_anew([])
        assert path.read_bytes() == content
        reader.communicate()
    impatient.warehouse.write_anew([])

    assert places_of(engine, [SECRET]) == []


@pytest.mark.long
def test_a_large_file_is_written_anew_in_the_memory_of_a_load(engine: Engine, box: Mailbox) -> None:
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute(
            "insert into gmail.messages (account_id, message_id, body_text) "
            "select 'x', cast(n as varchar), repeat(cast(hash(n) as varchar), 100) from range(500000) as r(n)"
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    engine.warehouse.write_anew([])

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.warehouses("postgres")
def test_tables_of_a_server_that_are_written_anew_have_no_dead_rows(engine: Engine, box: Mailbox) -> None:
    deleted_mail(engine, box)
    assert [place for place in places_of(engine, [SECRET]) if place.startswith("file of")], "nothing was dead"

    left = engine.warehouse.write_anew(engine.warehouse.all_tables())

    assert places_of(engine, [SECRET]) == []
    assert left == ["the server's write-ahead log, replicas and backups"]
    assert_analyst_tables_are_built(engine)


@pytest.mark.warehouses("postgres")
def test_what_a_server_does_not_let_go_of_is_told(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    sync(engine)
    impatient = new_engine(wait_s=0.5)
    reader = psycopg2.connect(engine.settings.warehouse)
    reader.set_session(isolation_level="REPEATABLE READ")
    with reader.cursor() as cursor:
        cursor.execute("select count(*) from gmail.messages")

    left = impatient.warehouse.write_anew(["gmail.messages", "gmail.attachments", "gmail.gone"])

    reader.close()

    assert [what.split(":")[0] for what in left] == [
        "rows that a transaction which began before the rewriting may still see",
        "dead rows of gmail.messages",
        "the server's write-ahead log, replicas and backups",
    ]


@pytest.mark.warehouses("postgres")
def test_the_planner_knows_no_value_of_a_table_that_has_become_empty(engine: Engine, box: Mailbox) -> None:
    box.generate(20, seed=1)
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute("analyze gmail.message_recipients")
        connection.execute("delete from gmail.message_recipients")

    engine.warehouse.write_anew(["gmail.message_recipients"])

    with engine.warehouse.open() as connection:
        known = connection.execute("select attname from pg_stats where tablename = 'message_recipients'").fetchall()
    assert known == []
