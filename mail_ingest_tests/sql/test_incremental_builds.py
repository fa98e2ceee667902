"""An incremental build gives what a full one gives, whatever landed, vanished or moved since the last."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mail_ingest.warehouse.builds import SCHEMA
from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.handing import among_changed
from mail_ingest.warehouse.loads import note_vanished
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.prepared import Prepared
from mail_ingest_tests.sql.conftest import opened_duckdb
from mail_ingest_tests.sql.databases import ADA, Database, at

GRACE = "grace@other.example"
LABELS = ["INBOX", "UNREAD", "STARRED", "SENT", "DRAFT", "TRASH", "SPAM", "Label_1", "Label_2"]
PEOPLE = ["bo@partner.example", "Cy@Partner.example", "_dee@example.com", ADA, "list@lists.example", "no address"]
SUBJECTS = ["Plan", "Re: Plan", "AW: Fwd:  the   plan", "RE:\u3000計画\u3000ÄRGER", None]
TABLES = [relation.name for relation in load_relations() if relation.is_table]


class Landing:
    """Random changes of the landing tables, such as syncs, dead processes, erasure and other pipelines make them."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.history_id = 1
        self.states: dict[tuple[str, str], dict[str, object]] = {}
        self.landed: list[tuple[str, str, list[dict[str, object]]]] = []

    def change(self) -> None:
        """One of the changes, a sync most often."""
        self.now += timedelta(hours=self.random.randint(1, 30))
        step = self.random.choices(
            [
                self.sync,
                self.late_load,
                self.load_again,
                self.erase,
                self.lose_content,
                self.lose_events,
                self.expire_events,
                self.rename_label,
                self.by_hand,
            ],
            [12, 2, 1, 1, 1, 1, 1, 1, 1],
        )[0]
        step()

    def sync(self, load_id: str | None = None) -> None:
        events, states, contents, parts = [], [], [], []
        for _ in range(self.random.randint(1, 6)):
            key = (self.random.choice([ADA, GRACE]), f"m{self.random.randint(1, 14)}")
            states.append(self._state(key, events))
            if self.random.random() < 0.6:
                message, recipients = self._content(key)
                contents.append(message)
                parts += recipients
        kinds = {"message_states": states, "label_events": events, "messages": contents, "message_recipients": parts}
        # a package lands table by table, and a build may come in between
        for name in self.random.sample(list(kinds), len(kinds)):
            load_id = self.database.load(load_id, **{name: kinds[name]})
            if name != "message_states":
                self.landed.append((load_id, name, kinds[name]))
            if self.random.random() < 0.15:
                self.database.build()

    def late_load(self) -> None:
        """A package of long ago that a dead process had left."""
        self.sync(f"16{self.random.randint(10**7, 10**8)}.5")

    def load_again(self) -> None:
        """Rows that land a second time, as a killed load leaves them: in place of newer ones, or of none."""
        for load_id, name, rows in self.random.sample(self.landed, min(3, len(self.landed))):
            self.database.load(load_id, **{name: rows})

    def erase(self) -> None:
        """All of one message goes."""
        key = self.random.choice(list(self.states) or [(ADA, "m1")])
        self.states.pop(key, None)
        for table in ("message_states", "messages", "message_recipients", "label_events"):
            self._delete(table, key)

    def lose_content(self) -> None:
        """The content of an unfinished load is taken back, to be made again."""
        key = self.random.choice(list(self.states) or [(ADA, "m1")])
        for table in ("messages", "message_recipients"):
            self._delete(table, key)

    def lose_events(self) -> None:
        """Events of a sweep whose states never landed are taken back."""
        self._delete("label_events", self.random.choice(list(self.states) or [(ADA, "m1")]))

    def expire_events(self) -> None:
        """The retention takes events of an account, and says so."""
        before = self.now - timedelta(hours=self.random.randint(0, 200))
        self.expire("t.account_id = ? and t.observed_at < ?", self.random.choice([ADA, GRACE]), before)

    def expire(self, condition: str, *values: object) -> None:
        connection = self.database.connection
        connection.begin()
        note_vanished(connection, SCHEMA, self.database.dialect, "gmail.label_events", condition, values)
        connection.execute(f"delete from gmail.label_events as t where {condition}", list(values))
        connection.commit()

    def rename_label(self) -> None:
        label_id = self.random.choice(LABELS)
        name = f"{label_id} {self.random.randint(1, 99)}"
        row = {"account_id": self.random.choice([ADA, GRACE]), "label_id": label_id, "name": name, "type": "user"}
        self.landed.append((self.database.load(labels=[row]), "labels", [row]))

    def by_hand(self) -> None:
        """Rows that no load brought."""
        load_id = self.database.load(message_states=[self._state((ADA, f"h{len(self.states)}{self.history_id}"), [])])
        self.database.connection.execute(
            "update gmail.message_states set _dlt_load_id = null where _dlt_load_id = ?", [load_id]
        )

    def _delete(self, table: str, key: tuple[str, str]) -> None:
        self.database.connection.execute(
            f"delete from gmail.{table} where account_id = ? and message_id = ?", list(key)
        )

    def _state(self, key: tuple[str, str], events: list[dict[str, object]]) -> dict[str, object]:
        stored = self.states.get(key)
        labels = set(stored["label_ids"]) if stored else set()  # type: ignore[call-overload]
        for label in self.random.sample(LABELS, self.random.randint(0, 3)):
            self.history_id += 1
            action = self.random.choice(["added", "removed"])
            (labels.add if action == "added" else labels.discard)(label)
            # now and then a change that nothing tells
            if self.random.random() < 0.85:
                events.append(self._event(key, label, action))
        is_deleted = self.random.random() < 0.1
        if is_deleted:
            self.history_id += 1
            events.append(self._event(key, "", "removed"))
        state = self.database.state(
            key[1],
            sorted(labels),
            account_id=key[0],
            thread_id=self.random.choice([stored["thread_id"], "t1", "t2", "t3"])
            if stored
            else f"t{self.random.randint(1, 5)}",
            history_id=self.history_id,
            is_deleted=is_deleted,
            deleted_at=self.now if is_deleted else None,
            first_seen_at=stored["first_seen_at"] if stored else self.now,
            changed_at=self.now,
        )
        self.states[key] = state
        return state

    def _event(self, key: tuple[str, str], label: str, action: str) -> dict[str, object]:
        return {
            "account_id": key[0],
            "history_id": self.history_id,
            "message_id": key[1],
            "label_id": label,
            "action": action,
            "observed_after": self.random.choice([None, self.now - timedelta(hours=1)]),
            "observed_at": self.now,
            "source": self.random.choice(["history", "history", "sweep"]),
        }

    def _content(self, key: tuple[str, str]) -> tuple[dict[str, object], list[dict[str, object]]]:
        author = self.random.choice(PEOPLE)
        moment = self.now - timedelta(minutes=self.random.randint(0, 6000))
        message = self.database.message(
            key[1],
            account_id=key[0],
            internal_date=moment,
            from_address=author,
            subject=self.random.choice(SUBJECTS),
            attachment_count=self.random.randint(0, 1),
        )
        recipients = [
            self.database.recipient(
                key[1], kind, address, account_id=key[0], name=self.random.choice(["", "bo", "B. Oak", "Änne"])
            )
            for kind, address in (
                ("from", author),
                ("to", self.random.choice(PEOPLE)),
                ("cc", self.random.choice(PEOPLE)),
            )
        ]
        return message, recipients[: self.random.randint(1, 3)]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
def test_incremental_builds_equal_a_full_one(database: Database, seed: int) -> None:
    landing = Landing(database, seed)
    landing.rename_label()
    filled = set[str]()
    for step in range(25):
        landing.change()
        if landing.random.random() < 0.5:
            database.build()
        if step % 8 == 7:
            database.build()
            built = database.contents()
            rebuilt = database.rebuild()
            expected = database.contents()

            assert set(rebuilt.full) == set(TABLES)
            for table in TABLES:
                assert built[table] == expected[table], f"{table} after step {step} of seed {seed}"
            filled |= {table for table in TABLES if expected[table]}
    assert filled == set(TABLES)


def test_nothing_is_built_where_nothing_landed(database: Database) -> None:
    database.load(message_states=[database.state("m1")], messages=[database.message("m1")])
    first = database.build()
    second = database.build()

    assert "mail.messages" in first.changed
    assert (second.full, dict(second.changed)) == ((), {})


class Listening:
    """A connection that keeps what it is asked, and may do something first."""

    def __init__(self, connection: Connection, first: Callable[[str], object] = str) -> None:
        self._connection = connection
        self._first = first
        self.statements: list[str] = []

    def execute(self, query: str, parameters: Any = (), /) -> Any:
        self._first(query)
        self.statements.append(query)
        return self._connection.execute(query, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_two_threads_of_duckdb_look_for_changed_keys_and_one_builds_in_full(prepared: Prepared, tmp_path: Path) -> None:
    with opened_duckdb(prepared, tmp_path) as database:
        for build, threads in ((database.tables.build, 2), (database.tables.rebuild, 1)):
            database.load(message_states=[database.state(f"m{threads}")])
            used: set[int] = set()

            def note(query: str, database: Database = database, used: set[int] = used) -> None:
                if query.startswith("insert into mail."):
                    used.update(*database.rows("select current_setting('threads')"))

            build(Listening(database.connection, note))

            assert used == {threads}
            assert database.rows("select current_setting('threads')") == [(1,)]


def test_events_that_vanish_and_are_noted_renew_their_messages_alone(database: Database) -> None:
    landing = Landing(database, 7)
    for _ in range(12):
        landing.sync()
    database.build()

    landing.expire("t.account_id = ?", ADA)

    build = database.build()
    assert build.full == ()
    assert build.changed["mail.label_intervals"] > 0
    built = database.contents()
    database.rebuild()
    assert built == database.contents()


def test_a_load_that_lands_after_younger_ones_is_not_skipped(database: Database) -> None:
    database.load("1900000000.1", message_states=[database.state("m1")])
    database.build()
    database.load("1500000000.1", message_states=[database.state("m2")])
    database.build()

    assert database.rows("select message_id from mail.messages order by 1") == [("m1",), ("m2",)]


def test_a_table_that_lands_later_than_the_rest_of_its_load_is_not_skipped(database: Database) -> None:
    load_id = database.load(message_states=[database.state("m1")], messages=[database.message("m1")])
    database.build()
    database.load(load_id, message_recipients=[database.recipient("m1", "from", "bo@partner.example")])
    database.build()

    assert database.rows("select address, received_count from mail.contacts") == [("bo@partner.example", 1)]


def test_a_message_that_moves_leaves_its_old_thread(database: Database) -> None:
    database.load(message_states=[database.state("m1", thread_id="t1"), database.state("m2", thread_id="t2")])
    database.build()
    database.load(message_states=[database.state("m1", thread_id="t2", history_id=2)])
    build = database.build()

    assert database.rows("select thread_id, message_count from mail.threads") == [("t2", 2)]
    assert build.full == ()


def test_a_message_that_was_read_renews_its_thread_and_no_contact(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["INBOX", "UNREAD"])],
        messages=[database.message("m1", body_text="See you there.")],
        message_recipients=[database.recipient("m1", "from", "bo@partner.example")],
    )
    database.build()
    database.load(
        message_states=[database.state("m1", ["INBOX"], history_id=2, changed_at=at("2026-03-02 09:00"))],
        label_events=[database.event("m1", "UNREAD", "removed", 2, "2026-03-02 08:00", "2026-03-02 09:00")],
    )
    build = database.build()

    assert build.full == ()
    assert set(TABLES) - build.changed.keys() == {
        "mail.business_calendar",
        "mail.recipients",
        "mail.contacts",
        "mail.thread_responses",
    }
    assert database.rows("select body_text, is_unread, subject from mail.messages") == [
        ("See you there.", False, "Plan")
    ]
    assert database.rows("select unread_count from mail.threads") == [(0,)]


def test_a_state_and_a_content_that_land_together_are_both_taken(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["UNREAD"]), database.state("m2", ["UNREAD"])])
    database.build()
    database.load(
        message_states=[database.state("m1", ["INBOX"], history_id=2), database.state("m2", ["INBOX"], history_id=2)],
        messages=[database.message("m1")],
    )
    database.build()

    rows = "select message_id, has_content, in_inbox, is_unread from mail.messages order by message_id"
    assert database.rows(rows) == [("m1", True, True, False), ("m2", False, True, False)]


def test_an_erased_message_leaves_every_table(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["INBOX", "UNREAD"])],
        messages=[database.message("m1")],
        message_recipients=[database.recipient("m1", "from", "bo@partner.example")],
        labels=[{"account_id": ADA, "label_id": "INBOX", "name": "INBOX", "type": "system"}],
    )
    database.build()
    for table in ("message_states", "messages", "message_recipients"):
        database.connection.execute(f"delete from gmail.{table}")
    build = database.build()

    left = {table: rows for table, rows in database.contents().items() if rows and table != "mail.business_calendar"}
    assert left == {"mail.labels": [(ADA, "INBOX", "INBOX", "system", None, 0, 0)]}
    assert build.full == ()


def test_another_time_zone_builds_anew_what_depends_on_it_and_what_reads_that(database: Database) -> None:
    database.load(message_states=[database.state("m1")], messages=[database.message("m1", "2026-03-02 23:30")])
    database.build()
    before = database.rows("select cast(received_on as varchar) from mail.messages")
    database.configure("Mon-Fri 09:00-17:00 America/New_York")
    after = database.rows("select cast(received_on as varchar) from mail.messages")

    assert (before, after) == ([("2026-03-03",)], [("2026-03-02",)])
    assert database.build().full == ()


def test_readers_see_all_of_a_build_or_nothing(database: Database) -> None:
    database.load(message_states=[database.state("m1")])
    database.build()
    before = database.contents()
    database.load(message_states=[database.state("m2")])

    def die(query: str) -> None:
        if query.startswith("insert into mail.threads"):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        database.tables.build(Listening(database.connection, die))
    assert database.contents() == before
    database.build()
    assert database.rows("select message_id from mail.messages order by 1") == [("m1",), ("m2",)]
    assert database.rows("select message_count from mail.threads") == [(2,)]


def test_duckdb_reads_only_rows_of_changed_keys_and_deletes_by_their_places(prepared: Prepared, tmp_path: Path) -> None:
    with opened_duckdb(prepared, tmp_path) as database:
        database.load(message_states=[database.state(f"m{number}") for number in range(2_000)])
        database.build()
        database.load(message_states=[database.state(f"m{number}", ["UNREAD"]) for number in range(0, 2_000, 20)])

        listening = Listening(database.connection)
        database.tables.build(listening)
        plan = database.rows(
            "explain analyze select label_ids from mail.messages where "
            + among_changed(("account_id", "message_id"), ("account_id", "message_id"), "duckdb").replace(
                "changed_keys",
                "(select account_id, message_id from mail.messages where label_ids like '%UNREAD%') as keys",
            )
        )
    deletes = [
        statement for statement in listening.statements if statement.startswith("delete from mail.label_intervals")
    ]

    assert deletes == ["delete from mail.label_intervals where rowid in (select place_of_row from rows_before)"]
    assert "BF(" in plan[0][1]


def test_a_stored_moment_does_not_depend_on_the_session(database: Database) -> None:
    database.load(message_states=[database.state("m1")], messages=[database.message("m1", "2026-03-02 23:30")])
    database.connection.execute(
        "set time zone 'Asia/Tokyo'" if database.dialect == "postgres" else "set TimeZone = 'Asia/Tokyo'"
    )
    database.build()

    assert database.rows("select cast(received_on as varchar), internal_date from mail.messages") == [
        ("2026-03-03", at("2026-03-02 23:30"))
    ]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_postgres_has_the_indexes_that_the_files_name_and_gives_them_to_tables_that_stay(database: Database) -> None:
    declared = {relation.name: len(relation.indexes) + 1 for relation in load_relations() if relation.is_table}
    asked = "select schemaname || '.' || tablename, count(*) from pg_indexes where schemaname = 'mail' group by 1"
    assert dict(database.rows(asked)) == declared

    for (name,) in database.rows(
        "select indexname from pg_indexes where schemaname = 'mail' and indexname not like '%_pkey'"
    ):
        database.connection.execute(f"drop index mail.{name}")
    database.rebuild()
    assert dict(database.rows(asked)) == declared


_COMMENTS = """
select relations.oid::regclass::text, columns.attname,
    obj_description(relations.oid, 'pg_class'), col_description(relations.oid, columns.attnum)
from pg_class as relations
inner join pg_attribute as columns
    on relations.oid = columns.attrelid
where relations.relnamespace = 'mail'::regnamespace
    and relations.relkind in ('r', 'v')
    and columns.attnum > 0
    and not columns.attisdropped
"""


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_psql_shows_what_every_relation_and_column_is_whatever_was_built(database: Database) -> None:
    of_mail = [relation for relation in load_relations() if relation.schema == "mail"]
    described = {
        (relation.name, column, relation.description, description)
        for relation in of_mail
        for column, description in relation.columns.items()
    }
    database.load(message_states=[database.state("m1")], messages=[database.message("m1")])
    database.build()
    assert set(database.rows(_COMMENTS)) == described

    database.rebuild()
    assert set(database.rows(_COMMENTS)) == described

    # a table of another definition is made anew
    database.connection.execute("alter table mail.threads drop column subject")
    database.rebuild()
    assert set(database.rows(_COMMENTS)) == described
