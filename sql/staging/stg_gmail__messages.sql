-- mail_staging.messages: one row per message whose content is stored.
-- key: account_id, message_id
-- reads: gmail.messages
-- refresh: view
-- column load_id: load package that wrote the row; null where none did.
select
    account_id,
    message_id,
    internal_date,
    subject,
    from_address,
    from_name,
    snippet,
    body_text,
    size_bytes,
    importance,
    rfc822_message_id,
    in_reply_to,
    attachment_count,
    privacy,
    _dlt_load_id as load_id
from gmail.messages
