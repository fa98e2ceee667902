"""What a sync did -> what Dagster shows: log lines, metadata that a person can read, and whether a failure is retried."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from mail_ingest.errors import BusyError, ConcurrencyError, MailIngestError, QuotaError, ServerError
from mail_ingest.ingest import Progress, SyncRun

#: What another try a few minutes later can mend; all else needs a person.
_PASSING = (BusyError, ConcurrencyError, QuotaError, ServerError)
_PASSING_NAMES = {error.__name__ for error in _PASSING}
_ROWS_SHOWN = 50
#: A line in Dagster's event log costs 10 ms and 5 KB.
_PROGRESS_EVERY_S = 60.0
#: So many accounts are told of one by one; of more, only those that something is wrong with.
_FEW = 20


class SyncLog:
    """Tells the run's log about accounts: progress once a minute, and how each ended. Of many accounts it tells of those that
    failed or whose answers were unexpected, `_FEW` at most: the others are in the run's metadata and in `gmail.sync_runs`."""

    def __init__(self, log: logging.Logger, accounts: int = 1) -> None:
        self._log = log
        self._told_at = time.monotonic()
        self._accounts = accounts
        self._told = self._done = 0

    def on_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            if self._accounts > _FEW:
                self._log.info("%d of %d accounts are done", self._done, self._accounts)
                return
            of_total = f" of {progress.total:,}" if progress.total else ""
            self._log.info("%s: %s, %s%s", progress.account_id, progress.phase, f"{progress.done:,}", of_total)

    def on_done(self, run: SyncRun) -> None:
        self._done += 1
        if self._accounts > _FEW:
            if not run.error and not run.unexpected_fields:
                return
            self._told += 1
            if self._told > _FEW:
                return
        if run.error:
            # spent quota is no failure, the next run goes on; nor is what somebody cancelled
            level = logging.WARNING if run.outcome in ("partial", "cancelled") else logging.ERROR
            self._log.log(level, "%s: %s: %s", run.account_id, run.outcome, run.error)
        if run.unexpected_fields:
            self._log.warning(
                "%s: Gmail's answers are not all as this version knows them: %s",
                run.account_id,
                ", ".join(run.unexpected_fields),
            )
        self._log.info(
            "%s: %s, %d new messages, %d deleted, %d label changes, %d contents stored, backlog %d, "
            "%d quota units, %.1f s",
            run.account_id,
            run.outcome,
            run.messages_added,
            run.messages_deleted,
            run.label_changes,
            run.contents_stored + run.contents_adopted,
            run.backlog,
            run.spent.total().units,
            run.duration_s,
        )


def summary(runs: Sequence[SyncRun], backlog: int) -> dict[str, dg.MetadataValue[Any]]:
    """Changes, backlog, cost and duration over all accounts, and a table of those that changed or failed."""
    totals = [run.spent.total() for run in runs]
    entries: dict[str, dg.MetadataValue[Any]] = {
        "messages_added": dg.MetadataValue.int(sum(run.messages_added for run in runs)),
        "messages_deleted": dg.MetadataValue.int(sum(run.messages_deleted for run in runs)),
        "label_changes": dg.MetadataValue.int(sum(run.label_changes for run in runs)),
        "contents_stored": dg.MetadataValue.int(sum(run.contents_stored + run.contents_adopted for run in runs)),
        "contents_failed": dg.MetadataValue.int(sum(run.contents_failed for run in runs)),
        "backlog_left": dg.MetadataValue.int(backlog),
        "quota_units": dg.MetadataValue.int(sum(total.units for total in totals)),
        "requests": dg.MetadataValue.int(sum(total.calls for total in totals)),
        "requests_refused": dg.MetadataValue.int(sum(total.refusals for total in totals)),
        "waited_for_quota_s": dg.MetadataValue.float(round(sum((total.waited_s for total in totals), 0.0), 1)),
        "duration_s": dg.MetadataValue.float(round(sum((run.duration_s for run in runs), 0.0), 1)),
        "accounts": dg.MetadataValue.int(len(runs)),
        "accounts_failed": dg.MetadataValue.int(len(_failed(runs))),
        "by_account": dg.MetadataValue.md(_by_account(runs)),
    }
    if any(run.account_group for run in runs):
        entries["by_group"] = dg.MetadataValue.md(_by_group(runs))
    unexpected = sorted({line for run in runs for line in run.unexpected_fields})[:_ROWS_SHOWN]
    if unexpected:
        entries["unexpected_fields"] = dg.MetadataValue.md("\n".join(f"- `{line}`" for line in unexpected))
    resume_at = [run.resume_at for run in runs if run.resume_at is not None]
    if resume_at:
        entries["quota_is_back_at"] = dg.MetadataValue.timestamp(max(resume_at))
    return entries


def _by_account(runs: Sequence[SyncRun]) -> str:
    """The accounts that changed or failed, with what each did and cost, and the errors below."""
    shown = [run for run in runs if run.changed_anything or run.error]
    if not shown:
        return "nothing changed"
    head = ("account", "group", "outcome", "kind", "new", "deleted", "label changes", "contents", "units", "seconds")
    rows = [
        (
            f"`{run.account_id}`",
            run.account_group or "",
            run.outcome,
            run.kind,
            run.messages_added,
            run.messages_deleted,
            run.label_changes,
            run.contents_stored + run.contents_adopted,
            run.spent.total().units,
            f"{run.duration_s:.1f}",
        )
        for run in shown
    ]
    errors = [f"`{run.account_id}`: {run.error}" for run in shown if run.error][:10]
    return "\n\n".join([markdown_table(head, rows), *errors])


def _by_group(runs: Sequence[SyncRun]) -> str:
    """What the accounts of each group did and cost together; those of none in the last row."""
    head = ("group", "accounts", "failed", "new", "deleted", "label changes", "contents", "units", "seconds")
    rows = []
    for group in sorted({run.account_group or "" for run in runs}, key=lambda group: (not group, group)):
        members = [run for run in runs if (run.account_group or "") == group]
        rows.append(
            (
                group or "(none)",
                len(members),
                len(_failed(members)),
                sum(run.messages_added for run in members),
                sum(run.messages_deleted for run in members),
                sum(run.label_changes for run in members),
                sum(run.contents_stored + run.contents_adopted for run in members),
                sum(run.spent.total().units for run in members),
                f"{sum(run.duration_s for run in members):.1f}",
            )
        )
    return markdown_table(head, rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of at most 50 rows; says how many it left out."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows[:_ROWS_SHOWN]]
    if len(rows) > _ROWS_SHOWN:
        lines.append(f"\nand {len(rows) - _ROWS_SHOWN} more")
    return "\n".join(lines)


def raise_for_failures(runs: Sequence[SyncRun]) -> None:
    """Fails the step where an account failed; all others were done before.

    It is retried only if another try can mend every one of them: an account that a person has to mend is no longer
    active then, so that a retry without it would pass for success.
    """
    failed = _failed(runs)
    if not failed:
        return
    lines = [f"{run.account_id}: {run.error}" for run in failed[:10]]
    more = [f"and {len(failed) - 10} more"] if len(failed) > 10 else []
    raise dg.Failure(
        description="\n".join([f"{len(failed)} of {len(runs)} accounts failed.", *lines, *more]),
        metadata={"by_account": dg.MetadataValue.md(_by_account(failed))},
        allow_retries=all(run.error_class in _PASSING_NAMES for run in failed),
    )


def failure_of(error: MailIngestError) -> dg.Failure:
    """What stopped a step before or after its accounts, in the error's own words."""
    return dg.Failure(description=str(error), allow_retries=isinstance(error, _PASSING))


def _failed(runs: Sequence[SyncRun]) -> list[SyncRun]:
    return [run for run in runs if run.outcome in ("failed", "busy")]
