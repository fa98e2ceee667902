-- mail_staging.message_states: one row per message ever seen, with its present state.
-- key: account_id, message_id
-- reads: gmail.message_states
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    message_id,
    thread_id,
    -- jsonb writes a blank between two ids, json does not
    replace(cast(label_ids as varchar), '", "', '","') as label_ids,
    is_deleted,
    deleted_at,
    first_seen_at,
    changed_at,
    _dlt_load_id as load_id
from gmail.message_states
