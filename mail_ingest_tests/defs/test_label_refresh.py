"""Labels are counted anew every week, within a budget, and nothing else of them changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster, Run
from mail_ingest_tests.truth import assert_states_equal, sync


def _refresh(dagster: Dagster, **config: object) -> Run:
    return Run(
        dagster.definitions.resolve_job_def("refresh_labels").execute_in_process(
            instance=dagster.instance,
            run_config={"ops": {"count_labels": {"config": config}}},
            raise_on_error=False,
        )
    )


def _told(run: Run) -> dict[str, object]:
    (event,) = run.result.filter_events(lambda event: event.is_successful_output)
    return {name: entry.value for name, entry in event.step_output_data.metadata.items()}


@pytest.mark.warehouses("duckdb", "postgres")
def test_counts_that_syncs_left_behind_are_those_of_the_mailbox_again(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    label = box.create_label("Acme")
    for message in [box.add(subject=f"{n}", sender="a@b.example", body="x") for n in range(4)]:
        box.relabel(message, add=(label,))
    sync(engine)
    box.relabel(min(box.messages()), remove=(label,))
    sync(engine)
    assert engine.queries.labels(ADDRESS)[label].label.messages_total == 4, "syncs count without being told to"
    gmail.reset_ledger()

    run = _refresh(dagster)

    stored = engine.queries.labels(ADDRESS)
    assert run.success
    assert stored[label].label.messages_total == 3
    assert stored[label].label.name == "Acme"
    assert _told(run)["labels"] == len(box.labels())
    assert _told(run)["quota_units"] == gmail.units() == len(box.labels())
    assert_states_equal(engine, box)


def test_the_budget_goes_to_the_oldest_counts_first(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.create_label("Acme")
    sync(engine)
    count, begun_at = len(box.labels()), datetime.now(UTC)

    runs = [_refresh(dagster, max_units=count - 1), _refresh(dagster, max_units=1)]

    assert [(_told(run)["labels"], _told(run)["left_out"]) for run in runs] == [(count - 1, 1), (1, count - 1)]
    counted = {label_id: stored.counts_at for label_id, stored in engine.queries.labels(ADDRESS).items()}
    assert len(counted) == count
    assert min(counted.values()) > begun_at, "a label was passed over"


def test_an_account_that_fails_does_not_keep_the_others_from_being_counted(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    box.revoke()

    run = _refresh(dagster)

    assert run.success
    assert (_told(run)["accounts_failed"], _told(run)["labels"]) == (1, len(other_box.labels()))
    assert engine.registry.get(ADDRESS).state == "active", "its next sync notes what is wrong with it"
