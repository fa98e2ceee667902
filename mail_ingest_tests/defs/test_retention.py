"""The nightly job deletes what is old, tells it without personal data, and keeps Dagster's own history bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.defs.retention import forget_runs
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster, Run
from mail_ingest_tests.truth import assert_analyst_tables_are_built, sync

#: Times are compared with what Dagster wrote a moment ago.
SOON = timedelta(seconds=5)


def _retain(dagster: Dagster, **config: object) -> Run:
    return Run(
        dagster.definitions.resolve_job_def("retention").execute_in_process(
            instance=dagster.instance,
            run_config={"ops": {"delete_what_is_old": {"config": config}}},
            raise_on_error=False,
        )
    )


def _told(run: Run) -> dict[str, object]:
    (event,) = run.result.filter_events(lambda event: event.is_successful_output)
    return {name: entry.value for name, entry in event.step_output_data.metadata.items()}


@pytest.mark.warehouses("duckdb", "postgres")
def test_the_job_tells_what_it_deleted_and_names_nobody(
    engine: Engine, box: Mailbox, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_INGEST_KEEP_DELETED_MAIL", "1")
    gone, _ = box.generate(2, seed=1)
    sync(engine)
    box.delete(gone)
    sync(engine)
    engine.close()
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.message_states set deleted_at = deleted_at - interval '2 days'")
    engine.close()

    planned, done = _retain(dagster, dry_run=True), _retain(dagster)

    assert (planned.success, done.success) == (True, True)
    for told in (_told(planned), _told(done)):
        assert (told["deleted_messages"], told["packs_removed"], told["accounts_skipped"]) == (1, 1, 0)
        assert told["deleted_mail_rows"] >= 2  # type: ignore[operator]
        assert "| deleted mail | 1 days |" in str(told["by_kind"])
        assert ADDRESS not in str(told)
        assert "example" not in str(told)
    assert (_told(planned)["dry_run"], _told(done)["dry_run"]) == (True, False)
    with engine.warehouse.open() as connection:
        assert connection.execute("select count(*) from gmail.messages").fetchone() == (1,)
    engine.build_analyst_tables(is_full=True)
    assert_analyst_tables_are_built(engine)


def test_old_runs_go_but_for_those_without_which_something_would_be_missing() -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["2026-01", "2026-02"]))
    def content() -> None:
        """Content by month."""

    @dg.asset
    def table() -> None:
        """A table."""

    @dg.op
    def nothing() -> None:
        """Materializes nothing."""

    @dg.job
    def idle() -> None:
        nothing()

    with dg.instance_for_test() as instance:

        def materialize(asset: dg.AssetsDefinition, month: str | None = None) -> str:
            return dg.materialize([asset], instance=instance, partition_key=month).run_id

        doomed = [
            materialize(content, "2026-01"),
            materialize(table),
            idle.execute_in_process(instance=instance).run_id,
        ]
        needed = [materialize(content, "2026-01"), materialize(content, "2026-02"), materialize(table)]
        running = instance.create_run_for_job(idle)
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name="idle"), run_id=running.run_id)
        log = Path(instance.compute_log_manager.get_captured_local_path([doomed[0], "compute_logs", "step"], "err"))  # type: ignore[attr-defined]
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("what a step printed")
        before = datetime.now(UTC) + SOON

        assert forget_runs(instance, datetime.now(UTC) - timedelta(days=1)) == 0
        assert forget_runs(instance, before, is_dry_run=True) == len(doomed)
        assert {run.run_id for run in instance.get_runs()} == {*doomed, *needed, running.run_id}
        assert forget_runs(instance, before) == len(doomed)

        assert {run.run_id for run in instance.get_runs()} == {*needed, running.run_id}
        for run_id in doomed:
            assert instance.all_logs(run_id) == []
        assert not log.exists()
        assert instance.get_materialized_partitions(dg.AssetKey("content")) == {"2026-01", "2026-02"}
        assert instance.get_latest_materialization_event(dg.AssetKey("table")) is not None
        assert forget_runs(instance, before) == 0
