-- table: gmail.accounts
-- catches: fewer or more live messages than Gmail's profile counted at the last sync, by more than mail in flight explains.
-- do: run `mail-ingest verify ADDRESS`; if it finds drift, `mail-ingest sync ADDRESS --mode full` sweeps every id.
-- severity: warn
with live as (
    select
        account_id,
        count(*) as message_count
    from gmail.message_states
    where not is_deleted
    group by account_id
)

select
    accounts.account_id,
    accounts.messages_total,
    coalesce(live.message_count, 0) as message_count
from gmail.accounts as accounts
left join live
    on accounts.account_id = live.account_id
where abs(accounts.messages_total - coalesce(live.message_count, 0)) > 5
