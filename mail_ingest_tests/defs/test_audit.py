"""The audit as a check: it fails on drift, keeps to its budget, and one broken account stops no other."""

from __future__ import annotations

import dagster as dg

from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import STATE, Dagster
from mail_ingest_tests.truth import sync


def _evaluate(dagster: Dagster, **config: object) -> dg.AssetCheckEvaluation:
    op = "gmail__accounts_equals_the_mailbox"
    result = dagster.definitions.resolve_job_def("audit").execute_in_process(
        instance=dagster.instance, run_config={"ops": {op: {"config": config}}} if config else None
    )
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def _told(evaluation: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {key: value.value for key, value in evaluation.metadata.items()}


def test_a_true_warehouse_passes_within_the_budget(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(20, seed=3)
    sync(engine)
    gmail.reset_ledger()

    told = _told(evaluation := _evaluate(dagster))

    assert evaluation.passed
    assert (told["drift"], told["accounts"], told["accounts_failed"]) == (0, 1, 0)
    assert told["quota_units"] == gmail.units() <= 5_000
    assert gmail.calls("messages.get") == 5


def test_drift_is_an_error(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    box.generate(20, seed=3)
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute(
            "delete from gmail.message_states where message_id = (select min(message_id) from gmail.messages)"
        )

    evaluation = _evaluate(dagster)

    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert _told(evaluation)["drift"] == 2
    assert "missing 1" in str(_told(evaluation)["drifted"])


def test_a_broken_account_only_warns_and_the_others_are_audited(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    for each in (box, other_box):
        each.generate(10, seed=3)
    engine.sync(engine.accounts(), SyncOptions())
    box.disable_mail()

    evaluation = _evaluate(dagster)

    told = _told(evaluation)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (told["accounts"], told["accounts_failed"], told["drift"]) == (1, 1, 0)
    assert ADDRESS in str(told["failures"])


def test_materializing_the_state_audits_what_costs_nothing(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(20, seed=3)
    sync(engine)
    gmail.reset_ledger()

    run = dagster.materialize(STATE)

    assert run.success
    assert run.checks["gmail/accounts:equals_the_mailbox"].passed
    assert gmail.units() == 2


def test_a_small_budget_says_what_it_did_not_reach(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(20, seed=3)
    sync(engine)
    gmail.reset_ledger()

    evaluation = _evaluate(dagster, max_units=30, accounts=[ADDRESS])

    assert evaluation.passed
    assert gmail.units() <= 30
    assert "label " in str(_told(evaluation)["by_account"])
