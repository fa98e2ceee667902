-- table: gmail.message_recipients
-- catches: recipients of a message whose content is not stored.
-- severity: error
select distinct
    recipients.account_id,
    recipients.message_id
from gmail.message_recipients as recipients
left join gmail.messages as messages
    on recipients.account_id = messages.account_id
    and recipients.message_id = messages.message_id
where messages.message_id is null
