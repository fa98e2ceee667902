-- mail_staging.label_events: one row per label change seen; a message added or deleted has an empty label_id.
-- key: account_id, history_id, message_id, label_id, action
-- reads: gmail.label_events
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    history_id,
    message_id,
    label_id,
    action,
    observed_after,
    observed_at,
    source,
    _dlt_load_id as load_id
from gmail.label_events
