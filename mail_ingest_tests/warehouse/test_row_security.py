"""Row-level security: a restricted reader sees the rows of the accounts granted to it, in every relation, whatever is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import psycopg2.errors
import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.exporting import Selection, export
from mail_ingest.warehouse.marts import load_relations
from mail_ingest.warehouse.row_security import PUBLIC
from mail_ingest_tests.postgres import connected, execute, fresh_database, with_user
from mail_ingest_tests.sql.databases import Database
from mail_ingest_tests.warehouse.conftest import made_roles
from mail_ingest_tests.warehouse.mailboxes import ACCOUNTS, GROUPS, load, secret_of

RELATIONS = [relation for relation in load_relations() if relation.schema == "mail"]
RESTRICTED, FREE, PERSON = "mail_ingest_test_restricted", "mail_ingest_test_free", "mail_ingest_test_person"


@pytest.fixture(scope="module")
def users(postgres: str) -> Iterator[dict[str, str]]:
    """URLs of the roles of one database for all tests, and of its owner; each test leaves it as it was."""
    with fresh_database(postgres) as url, made_roles(url, postgres) as urls:
        yield {**urls, "owner": url}


@pytest.fixture(scope="module")
def filled(users: dict[str, str]) -> Iterator[Database]:
    """A warehouse that the loader owns, with rows of every account in every relation."""
    with connected(users["mail_ingest_loader"]) as connection:
        connection.execute("set TimeZone = 'UTC'")
        database = Database(connection, "postgres")
        load(database, "1")
        database.build()
        yield database


@pytest.fixture
def loader(filled: Database) -> Iterator[Database]:
    yield filled
    filled.connection.execute("delete from mail_config.grants")


@pytest.fixture
def role(users: dict[str, str], loader: Database) -> Iterator[Callable[..., str]]:
    """Makes a role that is a member of others, and gives its URL."""
    made: list[str] = []

    def make(name: str, *groups: str) -> str:
        execute(users["owner"], f"create role {name} login password 'word' in role {', '.join(groups)}")
        made.append(name)
        return with_user(users["owner"], name, "word")

    yield make
    for name in reversed(made):
        execute(users["owner"], f"drop owned by {name} cascade", f"drop role {name}")


@pytest.fixture
def restricted(role: Callable[..., str]) -> str:
    """The URL of a restricted reader without grants."""
    return role(RESTRICTED, "mail_ingest_restricted_reader")


def grant(loader: Database, account: str | None = None, group: str | None = None, to: str = RESTRICTED) -> None:
    loader.connection.execute("insert into mail_config.grants values (cast(? as regrole), ?, ?)", [to, account, group])


def seen(url: str) -> dict[str, set[str]]:
    """The accounts of which a role sees rows, by relation."""
    with connected(url) as connection:
        return _seen(connection)


def _seen(connection: Connection) -> dict[str, set[str]]:
    return {
        relation.name: {
            row[0] for row in connection.execute(f"select distinct account_id from {relation.name}").fetchall()
        }
        for relation in RELATIONS
        if relation.name not in PUBLIC
    }


def everywhere(accounts: set[str]) -> dict[str, set[str]]:
    return {relation.name: accounts for relation in RELATIONS if relation.name not in PUBLIC}


def test_every_relation_is_of_accounts_or_named_as_public() -> None:
    assert {relation.name for relation in RELATIONS if relation.key[0] != "account_id"} == set(PUBLIC)


def test_a_restricted_role_sees_its_accounts_in_every_relation_before_and_after_builds(
    loader: Database, restricted: str
) -> None:
    assert _seen(loader.connection) == everywhere(ACCOUNTS), "the rows would show nothing"
    assert seen(restricted) == everywhere(set())

    grant(loader, account="cy@example.com")
    grant(loader, group="sales")

    mine = {"ada@example.com", "bo@example.com", "cy@example.com"}
    assert seen(restricted) == everywhere(mine)
    load(loader, "2")
    assert loader.build().full == ()
    assert seen(restricted) == everywhere(mine)
    loader.rebuild()
    assert seen(restricted) == everywhere(mine)
    for table in [relation for relation in RELATIONS if relation.is_table]:
        loader.connection.execute(f"drop table {table.name} cascade")
    loader.connection.execute("delete from mail_ingest.definitions")
    loader.prepare()
    assert seen(restricted) == everywhere(mine)
    assert _seen(loader.connection) == everywhere(ACCOUNTS)
    assert execute(restricted, "select count(*) from mail.business_calendar")[0][0] > 20_000


def test_an_account_that_changes_its_group_is_seen_by_others_from_then_on(loader: Database, restricted: str) -> None:
    grant(loader, group="sales")

    loader.connection.execute("update gmail.accounts set account_group = 'board' where account_id = 'bo@example.com'")
    loader.connection.execute("update gmail.accounts set account_group = 'sales' where account_id = 'di@example.com'")

    assert seen(restricted) == everywhere({"ada@example.com", "di@example.com"})
    for account, group in GROUPS.items():
        loader.connection.execute("update gmail.accounts set account_group = ? where account_id = ?", [group, account])


def test_a_reader_that_is_not_restricted_sees_everything(loader: Database, role: Callable[..., str]) -> None:
    assert seen(role(FREE, "mail_ingest_reader")) == everywhere(ACCOUNTS)


def test_a_reader_whose_rights_were_granted_by_hand_sees_everything(
    loader: Database, role: Callable[..., str], users: dict[str, str]
) -> None:
    url = role(FREE, "pg_monitor")
    database = execute(users["owner"], "select current_database()")[0][0]
    execute(
        users["owner"],
        f"grant connect on database {database} to {FREE}",
        f"grant usage on schema mail to {FREE}",
        f"grant select on all tables in schema mail to {FREE}",
    )

    assert seen(url) == everywhere(ACCOUNTS)


def test_grants_hold_for_the_members_of_a_role_and_for_nobody_else(
    loader: Database, restricted: str, role: Callable[..., str]
) -> None:
    person = role(PERSON, RESTRICTED)
    grant(loader, account="ada@example.com")
    grant(loader, account="cy@example.com", to=PERSON)

    assert seen(person) == everywhere({"ada@example.com", "cy@example.com"})
    assert seen(restricted) == everywhere({"ada@example.com"})


def test_a_role_that_is_made_anew_under_an_old_name_has_no_grants(
    loader: Database, restricted: str, users: dict[str, str]
) -> None:
    grant(loader, group="sales")

    execute(
        users["owner"],
        f"drop owned by {RESTRICTED}",
        f"drop role {RESTRICTED}",
        f"create role {RESTRICTED} login password 'word' in role mail_ingest_restricted_reader",
    )

    assert seen(restricted) == everywhere(set())
    loader.build()
    assert loader.rows("select * from mail_config.grants") == []


def test_nothing_else_can_be_read_and_nothing_written(loader: Database, restricted: str) -> None:
    grant(loader, group="sales")
    schemas = ("gmail", "mail_staging", "mail_build", "mail_config", "mail_ingest")
    hidden = loader.rows(
        "select table_schema, table_name from information_schema.tables "
        f"where table_schema in ({', '.join(repr(schema) for schema in schemas)})"
    )
    assert {schema for schema, _ in hidden} == set(schemas)

    statements = [f"select * from {schema}.{name}" for schema, name in hidden]
    for relation in RELATIONS:
        statements.append(f"drop {'table' if relation.is_table else 'view'} {relation.name}")
        statements += [f"delete from {relation.name}"] * relation.is_table
    statements += [
        "update mail.messages set account_id = 'ada@example.com'",
        "insert into mail.labels (account_id, label_id) values ('ada@example.com', 'x')",
        f"insert into mail_config.grants values ('{RESTRICTED}', 'cy@example.com', null)",
        "alter table mail.messages disable row level security",
        "drop policy granted_accounts on mail.messages",
        "set role mail_ingest_loader",
        "set role mail_ingest_reader",
        "set session authorization mail_ingest_loader",
        "create schema mine",
        "create view public.mine as select * from mail.messages",
        "create view mail.mine as select * from mail.messages",
        "create temporary view mine as select * from mail.messages",
        "create function public.leaks(text) returns boolean language sql cost 0.0001 return true",
        "create function mail.leaks(text) returns boolean language sql cost 0.0001 return true",
        "create function pg_temp.leaks(text) returns boolean language sql cost 0.0001 return true",
    ]
    with connected(restricted) as connection:
        for statement in statements:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_session_that_switches_row_security_off_gets_an_error_and_no_rows(loader: Database, restricted: str) -> None:
    with connected(restricted) as connection:
        connection.execute("set row_security = off")
        for relation in RELATIONS:
            if relation.is_table and relation.name not in PUBLIC:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    connection.execute(f"select * from {relation.name}")


@pytest.mark.parametrize(
    ("relation", "column"), [("messages", "subject"), ("threads", "subject"), ("attachments", "file_name")]
)
def test_errors_and_functions_of_a_query_see_no_hidden_rows(
    loader: Database, restricted: str, users: dict[str, str], relation: str, column: str
) -> None:
    grant(loader, account="ada@example.com")
    with pytest.raises(psycopg2.Error) as raised:
        execute(restricted, f"select * from mail.{relation} where cast({column} as integer) = 1")
    assert secret_of("ada@example.com") in str(raised.value)

    execute(users["owner"], f"create schema theirs authorization {RESTRICTED}")
    leaks = (
        "create function theirs.leaks(value text) returns boolean language plpgsql cost 0.0000001 as "
        "$$ begin raise notice 'saw %', value; return true; end $$"
    )
    with psycopg2.connect(restricted) as connection, connection.cursor() as cursor:
        cursor.execute(leaks)
        cursor.execute(f"create view theirs.everything as select * from mail.{relation}")
        for source in (f"mail.{relation}", "theirs.everything"):
            cursor.execute(f"select account_id from {source} where theirs.leaks({column})")
            assert {row[0] for row in cursor.fetchall()} == {"ada@example.com"}
        told = "".join(connection.notices)
    connection.close()
    assert secret_of("ada@example.com") in told
    assert all(secret_of(account) not in told for account in ACCOUNTS - {"ada@example.com"})


def test_statistics_show_no_values_of_hidden_rows(loader: Database, restricted: str) -> None:
    loader.connection.execute("analyze")

    assert (
        execute(
            restricted,
            "select * from pg_stats where schemaname in ('mail', 'gmail') and tablename <> 'business_calendar'",
        )
        == []
    )


def test_what_drops_the_view_of_grants_leaves_tables_without_rows(loader: Database, restricted: str) -> None:
    grant(loader, group="sales")

    loader.connection.execute("drop view mail_config.visible_accounts cascade")

    assert execute(restricted, "select count(*) from mail.messages") == [(0,)]
    loader.connection.execute("delete from mail_ingest.definitions")
    loader.prepare()
    assert seen(restricted) == everywhere({"ada@example.com", "bo@example.com"})


def test_a_relation_that_somebody_adds_by_hand_is_closed_to_restricted_roles(
    loader: Database, restricted: str, role: Callable[..., str]
) -> None:
    loader.connection.execute("create table mail.later as select * from mail.messages")

    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(restricted, "select * from mail.later")
    assert execute(role(FREE, "mail_ingest_reader"), "select count(*) > 0 from mail.later") == [(True,)]
    loader.connection.execute("drop table mail.later")


def test_the_newest_messages_are_found_by_an_index_and_grants_are_read_once(
    loader: Database, restricted: str, role: Callable[..., str], users: dict[str, str]
) -> None:
    loader.connection.execute(
        "insert into mail.messages (account_id, message_id, thread_id, internal_date, subject) "
        "select coalesce((array['ada', 'bo'])[number % 40], 'other') || '@example.com', 'many' || number, 't' || number, "
        "timestamptz '2020-01-01' + number * interval '1 minute', 'x' from generate_series(1, 50000) as numbers (number)"
    )
    loader.connection.execute("analyze mail.messages")
    grant(loader, group="sales")
    newest = "select message_id, subject from mail.messages {} order by internal_date desc limit 50"
    of_one = newest.format("where account_id = 'ada@example.com'")

    def plan(url: str, query: str) -> str:
        explain = f"explain (analyze, costs off, timing off) {query}"
        # so few rows are read faster from one end to the other
        return "\n".join(row[0] for row in execute(url, "set enable_seqscan = off", explain))

    mine = plan(restricted, of_one)
    assert "Index Scan using messages_" in mine
    assert "Sort Key: messages" not in mine
    assert mine.count("pg_has_role") == 2
    assert "loops=1)" in next(line for line in mine.splitlines() if "Scan on grants" in line)
    of_all = plan(restricted, newest.format(""))
    assert "Index Cond: ((account_id)::text = ANY" in of_all
    for url in (role(FREE, "mail_ingest_reader"), users["mail_ingest_loader"]):
        others = plan(url, of_one)
        assert "Index Scan using messages_" in others
        assert "Filter" not in others
        assert "InitPlan" not in others
    loader.connection.execute("delete from mail.messages where message_id like 'many%'")


def test_an_export_holds_what_a_role_may_see_and_no_more(
    loader: Database, restricted: str, role: Callable[..., str], users: dict[str, str], tmp_path: Path
) -> None:
    role(FREE, "mail_ingest_reader")

    def accounts(url: str, **selection: Any) -> set[str]:
        settings = load_settings({"MAIL_INGEST_HOME": str(tmp_path), "MAIL_INGEST_WAREHOUSE": url})
        export(settings, tmp_path / "copy.duckdb", "duckdb", Selection(**selection), is_forced=True)
        with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
            found = _seen(copy)
        [only] = {frozenset(each) for each in found.values()}
        return set(only)

    as_loader = users["mail_ingest_loader"]
    with pytest.raises(ConfigError, match="sees no account"):
        accounts(as_loader, role=RESTRICTED)
    grant(loader, group="sales")

    assert accounts(as_loader, role=RESTRICTED) == {"ada@example.com", "bo@example.com"}
    assert accounts(as_loader, role=RESTRICTED, accounts=("bo@example.com",)) == {"bo@example.com"}
    assert accounts(as_loader, role=FREE) == ACCOUNTS
    # the same without --role, on the role's own connection
    assert accounts(restricted) == {"ada@example.com", "bo@example.com"}
    for url, selection, says in (
        (as_loader, {"role": RESTRICTED, "accounts": ("cy@example.com",)}, "no account cy@example.com that"),
        (as_loader, {"role": RESTRICTED, "groups": ("board",)}, "may see in the group 'board'"),
        (as_loader, {"role": "no_such_role"}, "no role 'no_such_role'"),
        (restricted, {"accounts": ("cy@example.com",)}, "no account cy@example.com"),
        (restricted, {"role": RESTRICTED}, "the loader may read alone"),
    ):
        with pytest.raises(ConfigError, match=says):
            accounts(url, **selection)
