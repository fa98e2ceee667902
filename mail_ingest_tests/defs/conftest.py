"""Runs of the definitions, in this process, on a Dagster instance of their own over the local Gmail server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.definitions import build_definitions
from mail_ingest.defs.resources import MailIngest
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator

STATE = ["gmail/accounts", "gmail/labels", "gmail/message_states", "gmail/label_events", "gmail/sync_runs"]
CONTENT = [
    "gmail/messages",
    "gmail/message_html",
    "gmail/message_recipients",
    "gmail/attachments",
    "gmail/message_months",
    "gmail/fetch_failures",
    "gmail/left_out_messages",
]


class Impatient(MailIngest):
    """Engines that repeat refused calls at once: no test sleeps."""

    wait_s: float = 1.0

    def build(self) -> Engine:
        return Engine(load_settings(), wait_s=self.wait_s, sleep=lambda seconds: None)


class Dagster:
    """The definitions and an instance; every run is a new one of the same."""

    def __init__(self, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self.instance = instance
        self.definitions = definitions

    def materialize(
        self, keys: Sequence[str], *, month: str | None = None, months: tuple[str, str] | None = None, **config: object
    ) -> Run:
        """Materializes assets as the UI does; `months` are the first and the last of a range in one run."""
        op = "mailbox_state" if keys[0] in STATE else "mailbox_content"
        tags = (
            {"dagster/asset_partition_range_start": months[0], "dagster/asset_partition_range_end": months[1]}
            if months
            else {}
        )
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return Run(
            job.execute_in_process(
                instance=self.instance,
                asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
                partition_key=month,
                tags=tags,
                run_config={"ops": {op: {"config": config}}} if config else None,
                raise_on_error=False,
            )
        )

    def job(self, name: str, **config: object) -> Run:
        return Run(
            self.definitions.resolve_job_def(name).execute_in_process(
                instance=self.instance,
                run_config={"ops": {"sync_accounts": {"config": config}}} if config else None,
                raise_on_error=False,
            )
        )

    def materialized_months(self, key: str = "gmail/messages") -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(key.split("/"))))


class Run:
    """What one run left in the event log."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.result = result
        self.id = result.run_id
        self.success = result.success

    @property
    def materializations(self) -> list[dg.AssetMaterialization]:
        events = self.result.filter_events(lambda event: event.is_step_materialization)
        return [event.step_materialization_data.materialization for event in events]

    def of(self, key: str, month: str | None = None) -> dg.AssetMaterialization:
        """The only materialization of an asset (and month)."""
        found = [
            event
            for event in self.materializations
            if event.asset_key.to_user_string() == key and (month is None or event.partition == month)
        ]
        assert len(found) == 1, f"{key} {month}: {len(found)} materializations"
        return found[0]

    @property
    def keys(self) -> list[str]:
        return [event.asset_key.to_user_string() for event in self.materializations]

    @property
    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Evaluations by asset and name of the check."""
        found = self.result.get_asset_check_evaluations()
        return {f"{check.asset_key.to_user_string()}:{check.check_name}": check for check in found}

    @property
    def months_are_complete(self) -> dg.AssetCheckEvaluation:
        return self.checks["gmail/messages:months_are_complete"]

    @property
    def failures(self) -> list[str]:
        """Why steps failed, in the words that the UI shows first."""
        events = self.result.filter_events(lambda event: event.is_step_failure)
        return [event.step_failure_data.user_failure_data.description or "" for event in events]

    @property
    def retries(self) -> int:
        return len(self.result.filter_events(lambda event: event.is_step_up_for_retry))


@pytest.fixture
def set_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAIL_INGEST_*` of a fresh home on the local server, and nothing else of ours."""
    for name in [name for name in os.environ if name.startswith("MAIL_INGEST_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def dagster(set_environment: None) -> Iterator[Dagster]:
    """Real definitions on a real instance that is gone after the test; what passes is retried at once."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Dagster(instance, build_definitions(Impatient(), dg.RetryPolicy(max_retries=2)))


@pytest.fixture
def other_box(gmail: Simulator, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """A second mailbox, registered as well."""
    box = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", box.token)
    engine.registry.add(box.address, token_env("GRACE_TOKEN"))
    return box
