-- mail_staging.accounts: one row per account.
-- key: account_id
-- reads: gmail.accounts
-- refresh: view
select
    account_id,
    messages_total,
    last_full_sync_at,
    last_synced_at,
    status,
    account_group,
    privacy,
    is_pushed,
    watch_expires_at,
    last_notified_at
from gmail.accounts
