-- mail_staging.left_out_messages: one row per message of which nothing is stored on purpose, but for deleted mail whose time was over.
-- key: account_id, message_id
-- reads: gmail.left_out_messages
-- refresh: view
select
    account_id,
    message_id,
    reason
from gmail.left_out_messages
where reason <> 'retention'
