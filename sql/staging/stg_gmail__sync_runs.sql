-- mail_staging.sync_runs: one row per sync of one account that changed or failed something.
-- key: account_id, run_id
-- reads: gmail.sync_runs
-- refresh: view
select
    account_id,
    run_id,
    kind,
    triggered_by,
    started_at,
    finished_at,
    outcome,
    error_class,
    states_changed,
    messages_added,
    messages_deleted,
    label_changes,
    contents_stored,
    contents_failed,
    backlog,
    units,
    calls,
    refusals,
    bytes_received,
    waited_s,
    cast(unexpected_fields as varchar) as unexpected_fields
from gmail.sync_runs
