-- mail_staging.labels: one row per label that a mailbox has or had.
-- key: account_id, label_id
-- reads: gmail.labels
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    label_id,
    name,
    type,
    deleted_at,
    _dlt_load_id as load_id
from gmail.labels
