-- mail.sync_history: one row per sync of one account that changed or failed something.
-- key: account_id, run_id
-- reads: mail_staging.sync_runs
-- refresh: view
-- column account_id: account that was synced.
-- column run_id: id of the sync.
-- column kind: full, partial or content: what the sync read.
-- column triggered_by: person, schedule, push, backfill, and so on.
-- column started_at: when the sync of this account began.
-- column finished_at: when it ended, or wrote its last package.
-- column duration_seconds: from started_at to finished_at.
-- column outcome: success, partial (limits reached or work deferred), failed or cancelled.
-- column error_class: class of the error that ended the sync; null without one.
-- column messages_added: messages first seen.
-- column messages_deleted: messages found deleted.
-- column label_changes: label events landed.
-- column contents_stored: messages whose content was stored.
-- column contents_failed: messages whose content could not be fetched.
-- column backlog: messages in scope still without content at the end.
-- column units: Gmail quota units spent.
-- column calls: requests sent to Gmail.
-- column refusals: requests that Gmail refused for quota or concurrency.
-- column waited_seconds: seconds spent waiting for quota.
-- column unexpected_fields: JSON array of fields in Gmail's answers that this version did not expect, with their kinds; null where there were none.
-- column run_number: number of the sync among those of its account, the newest is 1.
with runs as (
    select *
    from mail_staging.sync_runs
)

select
    account_id,
    run_id,
    kind,
    triggered_by,
    started_at,
    finished_at,
    cast(floor(extract(epoch from (finished_at - started_at))) as bigint) as duration_seconds,
    outcome,
    error_class,
    messages_added,
    messages_deleted,
    label_changes,
    contents_stored,
    contents_failed,
    backlog,
    units,
    calls,
    refusals,
    waited_s as waited_seconds,
    unexpected_fields,
    row_number() over (partition by account_id order by started_at desc, run_id desc) as run_number
from runs
