-- table: gmail.sync_runs
-- catches: syncs that ended before they began, or later than now.
-- do: set the clock of the machine that syncs.
-- severity: error
select
    account_id,
    run_id
from gmail.sync_runs
where finished_at < started_at
    or finished_at > now() + interval '10 minutes'
