"""Copies of the analyst tables: every relation, the chosen accounts' rows and nothing else, from both warehouses."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from mail_ingest.errors import BusyError, ConfigError, WarehouseError
from mail_ingest.settings import Settings, load_settings
from mail_ingest.warehouse.embedded import DUCKDB_CONFIG
from mail_ingest.warehouse.exporting import Selection, export
from mail_ingest.warehouse.marts import load_relations
from mail_ingest.warehouse.reading import open_reader
from mail_ingest.warehouse.row_security import PUBLIC
from mail_ingest_tests.postgres import connected
from mail_ingest_tests.sql.databases import Database
from mail_ingest_tests.warehouse.mailboxes import ACCOUNTS, load, secret_of

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

RELATIONS = [relation for relation in load_relations() if relation.schema == "mail"]
SALES = ("ada@example.com", "bo@example.com")
_HOLDS = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""
_FULL = """
import resource, sys
from mail_ingest.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
main()
"""


@contextmanager
def opened(url: str) -> Iterator[Database]:
    if url.startswith("duckdb:"):
        path = Path(url.removeprefix("duckdb:///"))
        path.parent.mkdir(exist_ok=True)
        with duckdb.connect(str(path), config=DUCKDB_CONFIG) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield Database(connection, "duckdb")
        return
    with connected(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "postgres")


@pytest.fixture
def settings(warehouse_url: str, tmp_path: Path) -> Settings:
    """Of a warehouse with four mailboxes."""
    with opened(warehouse_url) as database:
        load(database, "1")
        database.build()
    return load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home"), "MAIL_INGEST_WAREHOUSE": warehouse_url})


def rows_of(url: str, accounts: tuple[str, ...]) -> dict[str, list[tuple[Any, ...]]]:
    listed = ", ".join(f"'{account}'" for account in accounts)
    with opened(url) as database:
        return {
            relation.name: sorted(
                database.rows(
                    f"select {', '.join(relation.columns)} from {relation.name}"
                    + ("" if relation.name in PUBLIC else f" where account_id in ({listed})")
                ),
                key=repr,
            )
            for relation in RELATIONS
        }


def test_a_copy_has_every_relation_with_its_comments_and_the_rows_of_the_chosen_accounts_alone(
    settings: Settings, warehouse_url: str, tmp_path: Path
) -> None:
    output = tmp_path / "sales.duckdb"

    done = export(settings, output, "duckdb", Selection(groups=("sales",)))

    assert done.accounts == SALES
    expected = rows_of(warehouse_url, SALES)
    assert all(expected.values())
    assert done.rows == {name: len(rows) for name, rows in expected.items()}
    with duckdb.connect(str(output), read_only=True) as copy:
        copy.execute("set TimeZone = 'UTC'")
        for relation in RELATIONS:
            copied = copy.execute(f"select * from {relation.name}").fetchall()
            assert sorted(copied, key=repr) == expected[relation.name], relation.name
            described = copy.execute(
                "select column_name, comment, is_nullable from duckdb_columns() "
                "where schema_name = 'mail' and table_name = ? order by column_index",
                [relation.short_name],
            ).fetchall()
            assert {name: comment for name, comment, _ in described} == relation.columns
            assert {name for name, _, nullable in described if not nullable} == set(relation.key)
        tables = copy.execute("select schema_name || '.' || table_name, comment from duckdb_tables()").fetchall()
        assert dict(tables) == {relation.name: relation.description for relation in RELATIONS}
        assert copy.execute("select * from duckdb_views() where not internal").fetchall() == []
    written = output.read_bytes()
    for account in ACCOUNTS:
        was_chosen = account in SALES
        assert (account.encode() in written) is was_chosen
        assert (secret_of(account).encode() in written) is was_chosen
    assert [path.name for path in tmp_path.iterdir() if "sales" in path.name] == ["sales.duckdb"]


def test_parquet_has_the_same_rows_and_descriptions(settings: Settings, warehouse_url: str, tmp_path: Path) -> None:
    output = tmp_path / "one"

    export(settings, output, "parquet", Selection(accounts=("CY@example.com",)))

    assert {path.stem for path in output.iterdir()} == {relation.short_name for relation in RELATIONS}
    expected = rows_of(warehouse_url, ("cy@example.com",))
    for relation in RELATIONS:
        table = pq.read_table(output / f"{relation.short_name}.parquet")
        rows = sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)
        assert len(rows) == len(expected[relation.name])
        assert {
            field.name: (field.metadata or {})[b"description"].decode() for field in table.schema
        } == relation.columns
        assert table.schema.metadata[b"key"].decode() == ", ".join(relation.key)
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            read = connection.execute("select * from read_parquet(?)", [str(output / f"{relation.short_name}.parquet")])
            assert sorted(read.fetchall(), key=repr) == expected[relation.name]
    written = b"".join(path.read_bytes() for path in output.iterdir())
    assert b"cy@example.com" in written
    assert not any(account.encode() in written for account in ACCOUNTS - {"cy@example.com"})


def test_all_accounts_are_copied_where_none_is_chosen(settings: Settings, tmp_path: Path) -> None:
    assert export(settings, tmp_path / "all.duckdb", "duckdb", Selection()).accounts == tuple(sorted(ACCOUNTS))


def test_texts_can_be_left_out(settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "plain.duckdb"

    export(settings, output, "duckdb", Selection(without_text=True))

    with duckdb.connect(str(output), read_only=True) as copy:
        columns = [name for (name,) in copy.execute("select column_name from duckdb_columns()").fetchall()]
        assert copy.execute("select count(*) from mail.messages").fetchone() == (8,)
    assert not {"subject", "normalized_subject", "snippet", "body_text", "from_name", "names", "file_name"} & set(
        columns
    )
    assert b"secret of" not in output.read_bytes()


@pytest.mark.warehouses("duckdb")
def test_every_column_of_words_is_one_that_can_be_left_out_or_known_to_be_none(
    settings: Settings, warehouse_url: str
) -> None:
    """A new column has to be put on one of the two sides."""
    no_words = {
        *("account_id", "message_id", "thread_id", "label_id", "part_id", "run_id", "in_part_id", "to_message_id"),
        *("first_message_id", "last_message_id", "rfc822_message_id", "in_reply_to", "label_ids", "sha256"),
        *(
            "kind",
            "type",
            "status",
            "category",
            "importance",
            "disposition",
            "content_type",
            "start_source",
            "end_source",
        ),
        *(
            "outcome",
            "last_outcome",
            "error_class",
            "last_error_class",
            "triggered_by",
            "unexpected_fields",
            "account_group",
            "privacy",
        ),
        # addresses and labels are what counts are made by
        *("address", "contact_address", "domain", "from_address", "responder_address", "to_address", "participants"),
        "label_name",
    }
    with opened(warehouse_url) as database:
        words = set(
            database.rows(
                "select table_name, column_name from information_schema.columns "
                "where table_schema = 'mail' and data_type = 'VARCHAR'"
            )
        )
    unknown = {(table, column) for table, column in words if column not in no_words} - {("labels", "name")}
    assert unknown == {(relation.short_name, column) for relation in RELATIONS for column in relation.texts}


def test_what_cannot_be_is_refused_before_anything_is_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "there.duckdb").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    for output, form, selection, is_forced, says in (
        ("a.duckdb", "duckdb", Selection(accounts=("eve@example.com",)), False, "no account eve@example.com"),
        ("a.duckdb", "duckdb", Selection(groups=("nobody",)), False, "in the group 'nobody'"),
        ("a.duckdb", "csv", Selection(), False, "--format is 'csv'"),
        ("none/a.duckdb", "duckdb", Selection(), False, "does not exist"),
        ("there.duckdb", "duckdb", Selection(), False, "--force replaces it"),
        ("there.duckdb", "parquet", Selection(), True, "is a file"),
        ("folder", "duckdb", Selection(), True, "is a folder"),
        ("folder", "parquet", Selection(), True, "not one of Parquet files alone"),
        *(
            [("home/warehouse.duckdb", "duckdb", Selection(), True, "the warehouse itself")]
            if settings.is_duckdb
            else []
        ),
        *([("a.duckdb", "duckdb", Selection(role="sales"), False, "no roles")] if settings.is_duckdb else []),
    ):
        with pytest.raises(ConfigError, match=says):
            export(settings, tmp_path / output, form, selection, is_forced=is_forced)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.duckdb").read_text() == "mine"


def test_force_replaces_an_earlier_copy_whole(settings: Settings, tmp_path: Path) -> None:
    for form, name in (("duckdb", "copy.duckdb"), ("parquet", "copy")):
        export(settings, tmp_path / name, form, Selection())
        if form == "duckdb":
            (tmp_path / "copy.duckdb.wal").write_text("of the file that was there")
        export(settings, tmp_path / name, form, Selection(accounts=("di@example.com",)), is_forced=True)
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("select distinct account_id from mail.messages").fetchall() == [("di@example.com",)]
    assert set(pq.read_table(tmp_path / "copy" / "messages.parquet")["account_id"].to_pylist()) == {"di@example.com"}
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy", "copy.duckdb"]


def test_all_tables_show_one_state_whatever_is_loaded_meanwhile(settings: Settings, warehouse_url: str) -> None:
    def count(reader: Any, relation: str) -> int:
        _, batches = reader.run(f"select count(*) as n from {relation}", ())
        return sum(row["n"] for batch in batches for row in batch.to_pylist())

    with closing(open_reader(settings, 1.0, one_state=True)) as reader:
        assert count(reader, "mail.messages") == 8
        if settings.is_duckdb:
            loading = [sys.executable, "-c", _HOLDS, str(settings.duckdb_path)]
            assert "Could not set lock" in subprocess.run(loading, capture_output=True, text=True, check=False).stderr
        else:
            with opened(warehouse_url) as database:
                load(database, "2")
                database.build()
                assert database.rows("select count(*) from mail.recipients") == [(16,)]
        assert count(reader, "mail.recipients") == 8


@pytest.mark.warehouses("duckdb")
def test_a_load_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    holding = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(settings.duckdb_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holding.stdout is not None
        assert holding.stdout.readline() == "open\n"
        with pytest.raises(BusyError, match=r"within 0\.3 s"):
            export(settings, tmp_path / "a.duckdb", "duckdb", Selection(), wait_s=0.3)
    finally:
        holding.communicate("close\n")
    export(settings, tmp_path / "a.duckdb", "duckdb", Selection(), wait_s=0.3)


@pytest.mark.warehouses("duckdb")
@pytest.mark.parametrize("form", ["duckdb", "parquet"])
def test_a_full_disk_leaves_nothing_and_exits_with_one(settings: Settings, tmp_path: Path, form: str) -> None:
    variables = {"MAIL_INGEST_HOME": str(settings.home), "MAIL_INGEST_WAREHOUSE": settings.warehouse}
    done = subprocess.run(
        [sys.executable, "-c", _FULL, "export", "--output", "copy", "--format", form],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "could not be written: the disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.warehouses("duckdb")
def test_what_a_killed_export_left_is_taken_away_and_what_another_one_writes_is_not(
    settings: Settings, tmp_path: Path
) -> None:
    left, living = (tmp_path / f".copy.duckdb.{name}.unfinished" for name in ("left", "living"))
    for folder in (left, living):
        folder.mkdir()
        (folder / "copy").write_text("half of it")
        os.utime(folder, (0, 0))
    descriptor = os.open(living, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    export(settings, tmp_path / "copy.duckdb", "duckdb", Selection())

    os.close(descriptor)
    assert not left.exists()
    assert living.exists()


def test_an_unreadable_warehouse_is_no_fault_of_the_copy(settings: Settings, tmp_path: Path) -> None:
    variables = {
        "MAIL_INGEST_HOME": str(tmp_path / "other"),
        "MAIL_INGEST_WAREHOUSE": f"duckdb:///{tmp_path}/no.duckdb",
    }
    with pytest.raises(ConfigError, match="no warehouse yet"):
        export(load_settings(variables), tmp_path / "a.duckdb", "duckdb", Selection())
    (tmp_path / "no.duckdb").write_text("no database")
    with pytest.raises(WarehouseError, match="cannot be read"):
        export(load_settings(variables), tmp_path / "a.duckdb", "duckdb", Selection())
