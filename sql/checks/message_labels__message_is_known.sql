-- table: mail.message_labels
-- catches: labels of a message that mail.messages does not have.
-- do: materialize the analyst tables with `rebuild`.
-- severity: error
select
    labels.account_id,
    labels.message_id,
    labels.label_id
from mail.message_labels as labels
left join mail.messages as messages
    on labels.account_id = messages.account_id
    and labels.message_id = messages.message_id
where messages.message_id is null
