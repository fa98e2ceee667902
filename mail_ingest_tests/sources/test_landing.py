"""What loads rely on: guards keep older rows out, pipelines do not touch each other, killed loads are finished first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mail_ingest.errors import WarehouseError
from mail_ingest.ingest import Engine
from mail_ingest.sources.batches import clean
from mail_ingest.sources.landing import STATE_SOURCE, landing_source
from mail_ingest.sources.tables import LABEL_EVENTS, LANDING_TABLES, MESSAGE_STATES, Table
from mail_ingest_tests.truth import lose_warehouse

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _states(*rows: tuple[str, int, str]) -> pa.Table:
    values = [
        ("ada@example.com", message_id, "t", f'["{label}"]', history_id, False, None, NOW, NOW)
        for message_id, history_id, label in rows
    ]
    return _table(MESSAGE_STATES, values)


def _table(table: Table, values: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*values, strict=True))
    return pa.table(
        [pa.array(column, type=field.type) for column, field in zip(columns, table.arrow_schema, strict=True)],
        schema=table.arrow_schema,
    )


def _load(
    engine: Engine, tables: dict[str, pa.Table], cursors: dict[str, dict[str, str]] | None = None, name: str = "state_0"
) -> None:
    def read(table: str) -> Iterator[pa.Table]:
        yield tables[table]

    engine.pipelines.load(
        name, lambda staging: landing_source(STATE_SOURCE, list(tables), read, staging=staging, cursors=cursors)
    )


def _labels(engine: Engine) -> dict[str, str]:
    with engine.warehouse.open() as connection:
        return dict(
            connection.execute("select message_id, cast(label_ids as varchar) from gmail.message_states").fetchall()
        )


def test_an_older_state_never_replaces_a_newer_one(engine: Engine) -> None:
    _load(engine, {"message_states": _states(("a", 10, "NEW"), ("b", 10, "OLD"))})
    _load(engine, {"message_states": _states(("a", 9, "OLD"), ("b", 11, "NEW"), ("c", 1, "NEW"))})

    assert _labels(engine) == {"a": '["NEW"]', "b": '["NEW"]', "c": '["NEW"]'}


def test_the_newest_of_one_package_wins(engine: Engine) -> None:
    _load(engine, {"message_states": _states(("a", 3, "OLD"), ("a", 5, "NEW"), ("a", 4, "OLD"))})

    assert _labels(engine) == {"a": '["NEW"]'}


def test_an_event_seen_again_keeps_its_first_observation(engine: Engine) -> None:
    def event(observed_at: datetime) -> pa.Table:
        return _table(LABEL_EVENTS, [("ada@example.com", 7, "a", "INBOX", "added", None, observed_at, "history")])

    later = datetime(2026, 2, 1, tzinfo=UTC)
    _load(engine, {"label_events": event(NOW)})
    _load(engine, {"label_events": event(later)})

    with engine.warehouse.open() as connection:
        rows = connection.execute("select observed_at from gmail.label_events").fetchall()
    assert [row[0].astimezone(UTC) for row in rows] == [NOW]


def test_a_failed_load_is_finished_before_new_rows_are_loaded(engine: Engine) -> None:
    _load(engine, {"message_states": _states(("a", 1, "OLD"))})
    with engine.warehouse.open() as connection:
        connection.execute("alter table gmail.message_states rename to hidden")
        connection.execute("create view gmail.message_states as select distinct * from gmail.hidden")
    with pytest.raises(WarehouseError, match="nothing is lost"):
        _load(
            engine,
            {"message_states": _states(("a", 2, "PENDING"), ("b", 2, "PENDING"))},
            {"ada@example.com": {"x": "2"}},
        )
    with engine.warehouse.open() as connection:
        connection.execute("drop view gmail.message_states")
        connection.execute("alter table gmail.hidden rename to message_states")

    _load(engine, {"message_states": _states(("c", 3, "NEW"))})

    assert _labels(engine) == {"a": '["PENDING"]', "b": '["PENDING"]', "c": '["NEW"]'}
    assert engine.pipelines.read_state("state_0", STATE_SOURCE)["cursors"] == {"ada@example.com": {"x": "2"}}


def test_cursors_survive_the_loss_of_the_working_folder(engine: Engine, new_engine: Callable[..., Engine]) -> None:
    import shutil

    _load(engine, {"message_states": _states(("a", 1, "X"))}, {"ada@example.com": {"history_id": "1"}})
    _load(engine, {"message_states": _states(("b", 1, "X"))}, {"bob@example.com": {"history_id": "2"}})
    shutil.rmtree(engine.settings.home / "dlt")

    restored = new_engine().pipelines.read_state("state_0", STATE_SOURCE)["cursors"]

    assert restored == {"ada@example.com": {"history_id": "1"}, "bob@example.com": {"history_id": "2"}}


def test_pipelines_have_staging_datasets_of_their_own(engine: Engine) -> None:
    _load(engine, {"message_states": _states(("a", 1, "X"))}, name="state_0")
    _load(engine, {"message_states": _states(("b", 1, "X"))}, name="state_1")

    with engine.warehouse.open() as connection:
        schemas = {
            row[0] for row in connection.execute("select schema_name from information_schema.schemata").fetchall()
        }
        left = connection.execute("select count(*) from gmail_staging_state_0.message_states").fetchone()
    assert {"gmail_staging_state_0", "gmail_staging_state_1"} <= schemas
    assert left == (0,), "staging keeps rows after the load"
    assert _labels(engine).keys() == {"a", "b"}


def test_a_load_that_changes_nothing_in_the_tables_definition_adds_no_column(engine: Engine) -> None:
    _load(engine, {"message_states": _states(("a", 1, "X"))})
    with engine.warehouse.open() as connection:
        columns = [
            row[0]
            for row in connection.execute(
                "select column_name from information_schema.columns "
                "where table_schema = 'gmail' and table_name = 'message_states' order by ordinal_position"
            ).fetchall()
        ]
    assert columns == [*(column.name for column in MESSAGE_STATES.columns), "_dlt_load_id"]


def test_account_is_first_in_every_key() -> None:
    assert {table.key[0] for table in LANDING_TABLES} == {"account_id"}
    assert {table.columns[0].name for table in LANDING_TABLES} == {"account_id"}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("nul\x00inside", "nulinside"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("é", "é"),
        (None, None),
    ],
)
def test_text_is_cleaned_of_what_warehouses_refuse(text: str | None, cleaned: str | None) -> None:
    assert clean(text) == cleaned


def test_another_warehouse_in_its_place_gets_no_cursor_and_no_package_of_the_old_one(
    engine: Engine, new_engine: Callable[..., Engine]
) -> None:
    _load(engine, {"message_states": _states(("a", 1, "X"))}, {"ada@example.com": {"history_id": "1"}})
    lose_warehouse(engine)

    for again in (engine, new_engine()):
        assert again.pipelines.read_state("state_0", STATE_SOURCE).get("cursors", {}) == {}
    _load(engine, {"message_states": _states(("b", 1, "X"))}, {"bob@example.com": {"history_id": "2"}})

    assert _labels(engine).keys() == {"b"}
    assert engine.pipelines.read_state("state_0", STATE_SOURCE)["cursors"] == {"bob@example.com": {"history_id": "2"}}
