"""`sql/roles.postgres.sql`: the loader can do its work, the reader reads the analyst tables, and neither can do more."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import psycopg2.errors
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest.warehouse.marts import sql_folder
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.postgres import connected, execute
from mail_ingest_tests.sql.databases import ADA, Database
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = [pytest.mark.warehouses("postgres"), pytest.mark.first_use]

_NOT_FOR_READERS = (
    "select count(*) from gmail.messages",
    "select count(*) from mail_staging.messages",
    "select count(*) from gmail_staging_content_0.messages",
    "select * from mail_ingest.deployment",
    "create table mail.mine (a int)",
    "create table public.mine (a int)",
    "create schema mine",
    "drop table mail.threads",
    "update mail_staging.labels set name = 'x'",
    "delete from gmail.messages",
)


@pytest.fixture
def loader(
    users: dict[str, str], new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    monkeypatch.setenv("ADA_TOKEN", box.token)
    engine = new_engine(MAIL_INGEST_WAREHOUSE=users["mail_ingest_loader"])
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"))
    return engine


def test_the_loader_fills_an_empty_database_and_the_reader_reads_the_analyst_tables(
    loader: Engine, box: Mailbox, users: dict[str, str]
) -> None:
    box.generate(20, seed=1)
    sync(loader)
    box.generate(5, seed=2)
    sync(loader)

    assert_true_to_gmail(loader, box)
    reader = users["mail_ingest_reader"]
    for relation in ("messages", "message_labels", "labels", "threads", "recipients", "attachments"):
        execute(reader, f"select count(*) from mail.{relation}")
    assert execute(reader, "select count(*) from mail.messages where has_content") == [(25,)]


def test_the_reader_can_do_no_more(loader: Engine, box: Mailbox, users: dict[str, str]) -> None:
    box.generate(2, seed=1)
    sync(loader)

    for statement in _NOT_FOR_READERS:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(users["mail_ingest_reader"], statement)


def test_the_loader_touches_nothing_of_others(users: dict[str, str], warehouse_url: str) -> None:
    execute(warehouse_url, "create schema others", "create table others.theirs (a int)")

    for statement in ("select * from others.theirs", "create table public.mine (a int)", "create role mine"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(users["mail_ingest_loader"], statement)


def test_tables_that_are_made_later_can_be_read(loader: Engine, users: dict[str, str]) -> None:
    loader.check_warehouse()

    execute(users["mail_ingest_loader"], "create table mail.later as select 1 as a")

    assert execute(users["mail_ingest_reader"], "select a from mail.later") == [(1,)]


def test_a_restricted_role_that_comes_later_is_restricted_from_the_next_start_on(
    users: dict[str, str], warehouse_url: str
) -> None:
    role = "mail_ingest_restricted_reader"
    execute(warehouse_url, f"drop owned by {role}", f"drop role {role}")
    count = "select count(*) from mail.messages"
    with connected(users["mail_ingest_loader"]) as connection:
        before = Database(connection, "postgres")
        before.load(message_states=[before.state("m1")], accounts=[{"account_id": ADA}])
        before.build()
        assert before.rows("select 1 from pg_class where relrowsecurity") == []
        assert "visible_accounts" not in before.rows("select pg_get_viewdef('mail.sync_history'::regclass)")[0][0]

        execute(warehouse_url, (sql_folder() / "roles.postgres.sql").read_text())
        execute(warehouse_url, f"alter role {role} login password 'of {role}'")
        before.build()
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(users[role], count)
        before.prepare()
        assert execute(users[role], count) == [(0,)]
        connection.execute(f"insert into mail_config.grants values ('{role}', '{ADA}', null)")
        assert execute(users[role], count) == [(1,)]
    assert execute(users["mail_ingest_reader"], count) == [(1,)]
