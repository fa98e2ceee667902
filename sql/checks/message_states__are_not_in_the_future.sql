-- table: gmail.message_states
-- catches: messages first seen, changed or deleted later than now.
-- do: set the clock of the machine that syncs; days and durations are wrong by as much as it was.
-- severity: error
select
    account_id,
    message_id
from gmail.message_states
where first_seen_at > now() + interval '10 minutes'
    or changed_at > now() + interval '10 minutes'
    or deleted_at > now() + interval '10 minutes'
