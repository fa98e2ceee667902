-- mail_staging.recipients: one row per address in an address header.
-- key: account_id, message_id, kind, position
-- reads: gmail.message_recipients
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    message_id,
    kind,
    position,
    name,
    address,
    group_name,
    _dlt_load_id as load_id
from gmail.message_recipients
