-- mail_staging.message_labels: one row per message and label it carries; deleted messages keep their last labels.
-- key: account_id, message_id, label_id
-- reads: gmail.message_states
-- refresh: view
select
    account_id,
    message_id,
    is_deleted,
    unnest(from_json(label_ids, '["varchar"]')) as label_id
from gmail.message_states
