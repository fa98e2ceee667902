-- table: mail.label_intervals
-- catches: stretches that begin or end later than now.
-- do: set the clock of the machine that syncs; days and durations are wrong by as much as it was.
-- severity: error
select
    account_id,
    message_id,
    label_id,
    number
from mail.label_intervals
where started_at > now() + interval '10 minutes'
    or ended_at > now() + interval '10 minutes'
