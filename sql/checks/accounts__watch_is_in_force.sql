-- table: gmail.accounts
-- catches: accounts whose changes Gmail is to publish, and does not, because their watch has lapsed or could not be made.
-- do: read in `mail-ingest account list` why it was not renewed, and see that `daily_watches` and `lapsing_watches` run; polling goes on.
-- severity: warn
-- null stands for never: an account is watched minutes after its first sync
select
    account_id,
    watch_expires_at
from gmail.accounts
where is_pushed
    and status in ('active', 'cooling_down')
    and coalesce(watch_expires_at < now(), true)
