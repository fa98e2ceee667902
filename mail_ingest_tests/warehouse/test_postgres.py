"""What is true of a Postgres warehouse alone: types, keys, connections, and what is said when it cannot be had."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from mail_ingest.errors import ConfigError, WarehouseError
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.queries import Scope
from mail_ingest.warehouse.server import Server
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.postgres import execute, fresh_database, with_database, with_user
from mail_ingest_tests.truth import assert_contents_equal, sync
from mail_ingest_tests.warehouse.test_locks import end_sessions

pytestmark = pytest.mark.warehouses("postgres")

_IDLE = "select pid from pg_stat_activity where application_name = 'mail_ingest'"


@pytest.fixture
def empty(tmp_path: Path, postgres: str) -> Callable[[str], Engine]:
    """Engines over a warehouse of one's choice, without a mailbox."""
    return lambda url: Engine(
        load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home"), "MAIL_INGEST_WAREHOUSE": url}), wait_s=1.0
    )


def test_json_can_be_searched_and_times_have_a_zone(engine: Engine, box: Mailbox, warehouse_url: str) -> None:
    box.generate(5, seed=1)
    sync(engine)

    types = execute(
        warehouse_url,
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'gmail' "
        "and table_name not like '\\_dlt%'",
    )

    found = {(table, column): kind for table, column, kind in types}
    for table in LANDING_TABLES:
        for column in table.columns:
            kind = {"json": "jsonb", "time": "timestamp with time zone"}.get(column.kind)
            assert kind is None or found[table.name, column.name] == kind, column.name
    [(inbox,)] = execute(warehouse_url, "select count(*) from gmail.message_states where label_ids ? 'INBOX'")
    assert inbox == sum("INBOX" in record.label_ids for record in box.messages().values()) > 0


def test_every_landing_table_has_its_own_key_and_none_of_dlts(engine: Engine, box: Mailbox, warehouse_url: str) -> None:
    box.generate(5, seed=1)
    sync(engine)

    indexes = execute(
        warehouse_url,
        "select tablename, indexdef from pg_indexes where schemaname = 'gmail' and indexname not like '%_load_id'",
    )

    keys = {table: definition.partition("(")[2].rstrip(")") for table, definition in indexes}
    assert keys == {
        table.name: ", ".join('"position"' if k == "position" else k for k in table.key) for table in LANDING_TABLES
    }
    assert all("UNIQUE" in definition for _, definition in indexes)


def test_characters_that_postgres_refuses_do_not_stop_a_mailbox(
    engine: Engine, box: Mailbox, warehouse_url: str
) -> None:
    raw = (
        b"From: =?utf-8?q?A=00b?= <a@b.example>\r\nSubject: =?utf-8?q?nul=00here?=\r\n"
        b"References: <a\x00b@x.example> <c@x.example>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"body\x00text \xed\xa0\x80\r\n"
    )
    box.add(raw=raw)
    box.create_label("nul\x00label")

    sync(engine)

    assert_contents_equal(engine, box)
    [(subject, text, references)] = execute(
        warehouse_url, "select subject, body_text, reference_ids::text from gmail.messages"
    )
    assert subject == "nulhere"
    assert text.startswith("bodytext")
    assert "c@x.example" in references


def test_texts_are_compressed_by_lz4_where_the_server_has_it(engine: Engine, box: Mailbox, warehouse_url: str) -> None:
    box.add(subject="x", sender="a@b.example", body="words that come again " * 2_000)
    sync(engine)

    [(has_lz4,)] = execute(
        warehouse_url, "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
    )
    [(method,)] = execute(warehouse_url, "select pg_column_compression(body_text) from gmail.messages")

    assert method == ("lz4" if has_lz4 else "pglz")


@pytest.mark.parametrize("has_lz4", [True, False])
def test_every_connection_asks_for_lz4_where_the_server_has_it_and_for_nothing_where_it_has_not(
    empty: Callable[[str], Engine], warehouse_url: str, has_lz4: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many builds of the server lack it, so it answers here as one that has it or has not."""
    said = []

    class Answering(psycopg2.extensions.cursor):
        def execute(self, query: str, parameters: Any = None) -> None:
            said.append(query)
            if "'lz4' = any(enumvals)" in query:
                query = f"select {int(has_lz4)}"
            elif "lz4" in query:
                query = "select 1"
            super().execute(query, parameters)

    monkeypatch.setattr(psycopg2, "connect", partial(psycopg2.connect, cursor_factory=Answering))
    engine = empty(warehouse_url)
    server = Server(warehouse_url)
    with server.connected(), server.connected():
        own = said.count("set default_toast_compression = 'lz4'")
    of_dlt = engine.warehouse.destination("staging").config_params["credentials"].to_native_representation()
    engine.close()

    assert own == (2 if has_lz4 else 0)
    assert ("-c default_toast_compression=lz4" in of_dlt) == has_lz4
    assert "-c TimeZone=UTC" in of_dlt


def test_no_connection_is_left_inside_a_transaction(
    engine: Engine, box: Mailbox, gmail: Simulator, warehouse_url: str
) -> None:
    box.generate(30, seed=1)
    seen = set()

    def look() -> None:
        rows = execute(
            warehouse_url,
            "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        )
        seen.update(row[0] for row in rows)

    gmail.before("messages.get", look)
    sync(engine)
    look()

    assert seen, "nothing was seen"
    assert not any("in transaction" in str(state) for state in seen)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    engine: Engine, box: Mailbox, warehouse_url: str
) -> None:
    box.generate(5, seed=1)
    sync(engine)
    end_sessions(warehouse_url, _IDLE)

    assert not engine.queries.has_backlog(ADDRESS, Scope())
    end_sessions(warehouse_url, _IDLE)
    sync(engine)


def test_a_connection_lost_while_it_is_used_is_an_error_in_one_sentence(engine: Engine, warehouse_url: str) -> None:
    with pytest.raises(WarehouseError, match="could not be read or written"):
        with engine.warehouse.open() as connection:
            end_sessions(warehouse_url, _IDLE)
            connection.execute("select 1")

    assert not engine.queries.has_backlog(ADDRESS, Scope())


def test_states_are_streamed(engine: Engine, warehouse_url: str) -> None:
    with engine.warehouse.open():
        execute(
            warehouse_url,
            "insert into gmail.message_states (account_id, message_id, thread_id, label_ids, history_id, is_deleted) "
            "select 'ada@example.com', to_char(n, 'FM0000000000000000'), 't', '[]', 1, false from generate_series(1, 25000) n",
        )

    states = engine.queries.iter_states(ADDRESS)
    first = next(states)
    others = engine.queries.lookup_states(ADDRESS, [first.message_id])

    assert others.keys() == {first.message_id}
    [(rows, in_transaction)] = execute(
        warehouse_url,
        "select (select count(*) from pg_stat_activity where query like 'FETCH FORWARD 10000 %' or query like 'select%'), "
        "(select count(*) from pg_stat_activity where state like '%in transaction%')",
    )
    assert (rows > 0, in_transaction) == (True, 0)
    assert sum(1 for _ in states) == 24_999


_STARTS = """
import sys
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
engine = Engine(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_WAREHOUSE": sys.argv[2]}))
print("ready", flush=True)
sys.stdin.readline()
print(engine.warehouse.identity())
"""


@pytest.mark.first_use
def test_processes_that_start_at_once_make_one_warehouse(warehouse_url: str, tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _STARTS, str(tmp_path / str(number)), warehouse_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    answers = [process.communicate(timeout=60) for process in started]

    assert [process.returncode for process in started] == [0] * 4, [error for _, error in answers]
    assert len({identity for identity, _ in answers}) == 1


def test_another_deployment_is_refused(engine: Engine, new_engine: Callable[..., Engine], tmp_path: Path) -> None:
    engine.check_warehouse()

    own = f"sqlite:///{tmp_path / 'staging.sqlite'}"
    with pytest.raises(ConfigError, match="belongs to the deployment 'local', this process runs as 'staging'"):
        new_engine(MAIL_INGEST_ENV="staging", MAIL_INGEST_CONTROL=own).check_warehouse()


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ("encoding 'SQL_ASCII' locale 'C'", "has the encoding SQL_ASCII"),
        ("encoding 'LATIN1' locale 'C'", "has the encoding LATIN1"),
        ("encoding 'UTF8' locale 'C'", "knows no letters beyond ASCII"),
    ],
)
def test_a_database_that_cannot_hold_or_lower_all_letters_is_refused_before_anything_is_made(
    empty: Callable[[str], Engine], postgres: str, options: str, lacks: str
) -> None:
    with fresh_database(postgres, f"template template0 {options}") as url:
        engine = empty(url)
        with pytest.raises(ConfigError) as raised:
            engine.check_warehouse()
        engine.close()

        assert lacks in str(raised.value)
        assert "encoding 'UTF8' locale 'C.UTF-8'" in str(raised.value)
        assert "\n" not in str(raised.value)
        assert execute(url, "select count(*) from pg_namespace where nspname ~ '^(gmail|mail)'") == [(0,)]


_SECRET = "s3cret-and-l0ng"


@pytest.fixture
def broken_urls(warehouse_url: str, postgres: str) -> Iterator[dict[str, str]]:
    role = "mail_ingest_test_powerless"
    execute(postgres, f"drop role if exists {role}", f"create role {role} login password '{_SECRET}'")
    yield {
        "nobody answers": f"postgresql://postgres:{_SECRET}@127.0.0.1:1/mail",
        "no socket": f"postgresql://postgres:{_SECRET}@localhost/mail?host=/nowhere",
        "no host": f"postgresql://postgres:{_SECRET}@nowhere.invalid/mail",
        "no database": with_user(with_database(warehouse_url, "nowhere"), role, _SECRET),
        "no user": with_user(warehouse_url, "nobody_at_all", _SECRET),
        "no rights": with_user(warehouse_url, role, _SECRET),
        "unreadable": f"postgresql://postgres:{_SECRET}@localhost:port/mail",
        "a slash": f"postgresql://postgres:ab/{_SECRET}@localhost/mail",
        "an at": f"postgresql://postgres:ab@{_SECRET}@localhost/mail",
        "odd parameter": f"postgresql://postgres:{_SECRET}@localhost/mail?{_SECRET}=1",
    }
    execute(postgres, f"drop role {role}")


@pytest.mark.first_use
def test_what_is_wrong_with_a_server_is_said_in_one_sentence_without_its_password(
    broken_urls: dict[str, str],
    empty: Callable[[str], Engine],
    caplog: pytest.LogCaptureFixture,
    warehouse_url: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    said = {}
    for name, url in broken_urls.items():
        with pytest.raises(ConfigError) as raised:
            empty(url).check_warehouse()
        said[name] = str(raised.value)
        assert raised.value.__cause__ is None
        assert "\n" not in said[name]
        assert _SECRET not in said[name] + repr(load_settings({"MAIL_INGEST_WAREHOUSE": url}))

    assert "does not answer" in said["nobody answers"]
    assert "does not answer" in said["no socket"]
    assert "nobody knows its host name" in said["no host"]
    assert "no such database" in said["no database"]
    # a server that asks for passwords does not tell which of the two is wrong
    assert "no such user" in said["no user"] or "refuses the user name or the password" in said["no user"]
    assert "sql/roles.postgres.sql" in said["no rights"]
    assert "cannot be read as postgresql://" in said["unreadable"]
    assert _SECRET not in caplog.text
    assert execute(warehouse_url, "select count(*) from pg_namespace where nspname ~ '^(gmail|mail)'") == [(0,)]


def test_a_build_is_planned_for_the_rows_that_are_there(engine: Engine, box: Mailbox) -> None:
    """Autovacuum comes once a minute, and a plan for empty tables takes minutes."""
    box.generate(700, seed=3)
    sync(engine, content=False)

    with engine.warehouse.open() as connection:
        looked_at = connection.execute(
            "select relname from pg_stat_user_tables where schemaname = 'gmail' and last_analyze is not null order by 1"
        ).fetchall()
    assert ("message_states",) in looked_at
    assert ("message_html",) not in looked_at, "nothing changed there"
