-- table: gmail.message_recipients
-- catches: recipients of a message whose content is not stored.
-- do: run `mail-ingest sync`, which takes back rows that landed without their message; if some stay, delete them.
-- severity: error
-- blocking: yes
select distinct
    recipients.account_id,
    recipients.message_id
from gmail.message_recipients as recipients
left join gmail.messages as messages
    on recipients.account_id = messages.account_id
    and recipients.message_id = messages.message_id
where messages.message_id is null
