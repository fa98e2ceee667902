-- table: gmail.sync_runs
-- catches: fields that Gmail's answers have, lack or changed the kind of, unlike what this version knows, in the last 7 days.
-- do: look for a newer version of this package; if there is none, report the names, which hold nothing of any mail.
-- severity: warn
select distinct
    account_id,
    cast(unexpected_fields as varchar) as unexpected_fields
from gmail.sync_runs
where unexpected_fields is not null
    and finished_at > current_timestamp - interval '7 days'
