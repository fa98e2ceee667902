-- table: gmail.attachments
-- catches: attachments of a message whose content is not stored, or fewer rows than the message counts.
-- severity: error
select
    messages.account_id,
    messages.message_id
from gmail.messages as messages
left join gmail.attachments as attachments
    on messages.account_id = attachments.account_id
    and messages.message_id = attachments.message_id
group by messages.account_id, messages.message_id, messages.attachment_count
having count(attachments.part_id) <> messages.attachment_count
