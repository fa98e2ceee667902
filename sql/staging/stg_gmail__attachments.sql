-- mail_staging.attachments: one row per attachment.
-- key: account_id, message_id, part_id
-- reads: gmail.attachments
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    message_id,
    part_id,
    file_name,
    content_type,
    disposition,
    is_inline,
    size_bytes,
    sha256,
    in_part_id,
    _dlt_load_id as load_id
from gmail.attachments
