-- table: mail.recipients
-- catches: addresses of a message that mail.messages does not have, or has without content.
-- do: see whether gmail.message_recipients is in order; then materialize the analyst tables with `rebuild`.
-- severity: error
select
    recipients.account_id,
    recipients.message_id,
    recipients.kind,
    recipients.position
from mail.recipients as recipients
left join mail.messages as messages
    on recipients.account_id = messages.account_id
    and recipients.message_id = messages.message_id
    and messages.has_content
where messages.message_id is null
