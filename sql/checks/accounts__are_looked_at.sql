-- table: gmail.accounts
-- catches: accounts that should be synced and were not for more than a day; a quiet mailbox is fresh when Gmail was asked.
-- do: see `mail-ingest status ADDRESS` for the last error, and that the schedule `hourly_sync` runs; then `mail-ingest sync ADDRESS`.
-- severity: error
-- looks: yes
select
    looks.account_id,
    greatest(looks.looked_at, accounts.last_synced_at) as looked_at
from looks
left join gmail.accounts as accounts
    on looks.account_id = accounts.account_id
where looks.state in ('active', 'cooling_down')
    and coalesce(greatest(looks.looked_at, accounts.last_synced_at), looks.registered_at) < now() - interval '1 day'
