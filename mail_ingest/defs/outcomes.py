"""What a sync did -> what Dagster shows: metadata that a person can read, and failures that say whether to retry."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from mail_ingest.ingest import SyncRun


def run_metadata(runs: Sequence[SyncRun]) -> dict[str, dg.MetadataValue]:
    """Changes, units, duration and backlog over all accounts, and a table of those that changed or failed."""
    totals = [run.spent.total() for run in runs]
    shown = [run for run in runs if run.changed_anything or run.error][:100]
    return {
        "accounts": dg.MetadataValue.int(len(runs)),
        "messages_added": dg.MetadataValue.int(sum(run.messages_added for run in runs)),
        "messages_deleted": dg.MetadataValue.int(sum(run.messages_deleted for run in runs)),
        "label_changes": dg.MetadataValue.int(sum(run.label_changes for run in runs)),
        "contents_stored": dg.MetadataValue.int(sum(run.contents_stored + run.contents_adopted for run in runs)),
        "contents_failed": dg.MetadataValue.int(sum(run.contents_failed for run in runs)),
        "backlog_left": dg.MetadataValue.int(sum(run.backlog for run in runs)),
        "quota_units": dg.MetadataValue.int(sum(total.units for total in totals)),
        "requests": dg.MetadataValue.int(sum(total.calls for total in totals)),
        "waited_for_quota_s": dg.MetadataValue.float(round(sum(total.waited_s for total in totals), 2)),
        "duration_s": dg.MetadataValue.float(round(sum(run.duration_s for run in runs), 2)),
        "by_account": dg.MetadataValue.md(_table(shown)),
    }


def _table(runs: Sequence[SyncRun]) -> str:
    if not runs:
        return "nothing changed"
    lines = [
        "| account | outcome | kind | new | deleted | label changes | contents | backlog | units | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run.account_id} | {run.outcome} | {run.kind} | {run.messages_added} | {run.messages_deleted} "
        f"| {run.label_changes} | {run.contents_stored} | {run.backlog} | {run.spent.total().units} "
        f"| {run.duration_s:.1f} |"
        for run in runs
    ]
    lines += [f"\n{run.account_id}: {run.error}" for run in runs if run.error]
    return "\n".join(lines)


def raise_for_failures(runs: Sequence[SyncRun]) -> None:
    """Fails the step when an account failed, after all others were done.

    Whatever a person has to mend is not retried; another process's lock is worth another try.
    """
    failed = [run for run in runs if run.outcome in ("failed", "busy")]
    if not failed:
        return
    raise dg.Failure(
        description=" ".join(run.error for run in failed[:10]),
        metadata={
            "failed_accounts": dg.MetadataValue.int(len(failed)),
            "of_accounts": dg.MetadataValue.int(len(runs)),
        },
        allow_retries=all(run.outcome == "busy" or run.error_class == "ServerError" for run in failed),
    )
