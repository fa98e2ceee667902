-- table: gmail.label_events
-- catches: changes that were observed before the observation that came before them, or in the future.
-- do: set the clock of the machine that syncs; days and durations of these changes are wrong by as much as it was.
-- severity: error
select
    account_id,
    history_id,
    message_id,
    label_id,
    action
from gmail.label_events
where observed_after > observed_at
    or observed_at > now() + interval '10 minutes'
