-- table: gmail.fetch_failures
-- catches: dead letters: live messages whose content failed to come at least five times, or could not be parsed.
-- do: read `reason` in gmail.fetch_failures; `mail-ingest retry ADDRESS` tries at once, `mail-ingest reparse` helps where the parser failed.
-- severity: warn
select
    failures.account_id,
    failures.message_id,
    failures.error_class
from gmail.fetch_failures as failures
inner join gmail.message_states as states
    on failures.account_id = states.account_id
    and failures.message_id = states.message_id
where failures.resolved_at is null
    and (failures.attempts >= 5 or failures.parked_at is not null)
    and not states.is_deleted
