-- table: gmail.attachments
-- catches: attachments of a message whose content is not stored, and messages with fewer or more of them than they count.
-- severity: error
select
    coalesce(messages.account_id, attachments.account_id) as account_id,
    coalesce(messages.message_id, attachments.message_id) as message_id
from gmail.messages as messages
full outer join gmail.attachments as attachments
    on messages.account_id = attachments.account_id
    and messages.message_id = attachments.message_id
group by
    coalesce(messages.account_id, attachments.account_id),
    coalesce(messages.message_id, attachments.message_id)
having count(attachments.part_id) <> coalesce(max(messages.attachment_count), 0)
