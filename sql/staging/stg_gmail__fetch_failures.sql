-- mail_staging.fetch_failures: one row per message whose content could not be fetched or parsed, then or now.
-- key: account_id, message_id
-- reads: gmail.fetch_failures
-- refresh: view
select
    account_id,
    message_id,
    attempts,
    error_class,
    last_failed_at,
    next_try_at,
    parked_at,
    resolved_at
from gmail.fetch_failures
