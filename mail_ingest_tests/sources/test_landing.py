"""What loads rely on: guards keep older rows out, pipelines do not touch each other, killed loads are finished first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.errors import WarehouseError
from mail_ingest.ingest import Engine
from mail_ingest.ingest import engine as engine_module
from mail_ingest.ingest import run as run_module
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources import landing
from mail_ingest.sources.batches import RowBuffer, clean
from mail_ingest.sources.landing import STATE_SOURCE, landing_source
from mail_ingest.sources.tables import LABEL_EVENTS, LANDING_TABLES, MESSAGE_STATES, SYNC_RUNS, Table
from mail_ingest.warehouse.marts import Relation, load_relations
from mail_ingest_tests.truth import lose_warehouse, sync

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


def _columns(engine: Engine, table: str) -> dict[str, str]:
    with engine.warehouse.open() as connection:
        return dict(
            connection.execute(
                "select column_name, data_type from information_schema.columns "
                "where table_schema = 'gmail' and table_name = ?",
                [table],
            ).fetchall()
        )


def _surplus(states: pa.Table) -> pa.Table:
    return states.append_column("surplus", pa.array(["planted value"]))


def _other_type(states: pa.Table) -> pa.Table:
    return states.set_column(4, "history_id", pa.array(["planted value"]))


@pytest.mark.parametrize("loaded_before", [True, False], ids=["into a table in use", "by the first load"])
@pytest.mark.parametrize(
    ("spoil", "column"), [(_surplus, "surplus"), (_other_type, "history_id")], ids=["column", "type"]
)
def test_a_row_that_does_not_fit_its_table_is_refused_and_widens_nothing(
    engine: Engine, spoil: Callable[[pa.Table], pa.Table], column: str, loaded_before: bool
) -> None:
    if loaded_before:
        _load(engine, {"message_states": _states(("a", 1, "OLD"))}, {"ada@example.com": {"x": "1"}})
    else:
        engine.check_warehouse()
    before = _columns(engine, "message_states")

    with pytest.raises(WarehouseError, match=rf"message_states\.{column} is not defined.*report it") as caught:
        _load(engine, {"message_states": spoil(_states(("b", 2, "WRONG")))}, {"ada@example.com": {"x": "2"}})

    assert "planted value" not in str(caught.value)
    assert _columns(engine, "message_states") == before
    _load(engine, {"message_states": _states(("c", 3, "NEW"))})
    assert _labels(engine).keys() == ({"a", "c"} if loaded_before else {"c"})
    expected = {"ada@example.com": {"x": "1"}} if loaded_before else {}
    assert engine.pipelines.read_state("state_0", STATE_SOURCE).get("cursors", {}) == expected


@pytest.mark.first_use
def test_a_warehouse_of_before_gets_the_column_that_tells_of_unexpected_fields(
    new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch, gmail: Simulator
) -> None:
    """Made and loaded by a version without the column, dlt's own schema included."""
    older = replace(SYNC_RUNS, columns=tuple(c for c in SYNC_RUNS.columns if c.name != "unexpected_fields"))
    tables = tuple(older if table is SYNC_RUNS else table for table in LANDING_TABLES)
    monkeypatch.setenv("ADA_TOKEN", box.token)
    box.generate(5, seed=1)
    with pytest.MonkeyPatch.context() as before:
        before.setattr(engine_module, "LANDING_TABLES", tables)
        before.setitem(landing._BY_NAME, "sync_runs", older)
        before.setattr(run_module, "SYNC_RUNS", older)
        before.setattr(run_module.RowBuffer, "add", _without_the_last(older, run_module.RowBuffer.add))
        before.setattr(engine_module, "load_relations", _relations_of_before)
        first = new_engine()
        first.registry.add(box.address, token_env("ADA_TOKEN"))
        sync(first)
        assert "unexpected_fields" not in _columns(first, "sync_runs")
        first.close()

    gmail.change_answers("getProfile.novelty", "add")
    second = new_engine()
    sync(second)

    assert _columns(second, "sync_runs")["unexpected_fields"] in ("JSON", "jsonb")
    with second.warehouse.open() as connection:
        rows = connection.execute(
            "select cast(unexpected_fields as varchar) from gmail.sync_runs order by started_at"
        ).fetchall()
    assert rows == [(None,), ('["getProfile.novelty: unknown string"]',)]


def _relations_of_before() -> list[Relation]:
    column = re.compile(r",\n *(?:cast\(unexpected_fields as varchar\) as )?unexpected_fields(?=[,\n])")
    return [
        replace(
            relation,
            text=column.sub("", relation.text),
            columns={name: text for name, text in relation.columns.items() if name != "unexpected_fields"},
        )
        for relation in load_relations()
    ]


def _without_the_last(table: Table, add: Callable[..., None]) -> Callable[..., None]:
    def cut(buffer: RowBuffer, row: tuple[object, ...]) -> None:
        add(buffer, row[:-1] if buffer._table is table else row)

    return cut


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
