-- table: gmail.accounts
-- catches: accounts that nobody looked at for five days, paused ones too: Gmail keeps history for about a week.
-- do: sync the account within the hours that are left, with new credentials if need be; later a sweep repairs all but the times of changes.
-- severity: warn
-- looks: yes
-- a look that found nothing new renews an old cursor: all before it is known, whatever Gmail forgets
with looked_at as (
    select
        looks.account_id,
        greatest(looks.looked_at, accounts.last_synced_at) as looked_at
    from looks
    inner join gmail.accounts as accounts
        on looks.account_id = accounts.account_id
    where accounts.cursor_history_id is not null
)

select
    account_id,
    looked_at,
    cast(floor(extract(epoch from (looked_at + interval '7 days' - now())) / 3600) as bigint) as hours_left
from looked_at
where looked_at < now() - interval '5 days'
