-- table: gmail.attachments
-- catches: attachments of a message whose content is not stored, and messages with fewer or more of them than they count, unless their privacy leaves them out.
-- do: run `mail-ingest sync`, which takes back messages that landed in part and makes them again from the archive; then `mail-ingest verify`.
-- severity: error
-- blocking: yes
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
having
    count(attachments.part_id) <> coalesce(
        max(case when position(' without attachments' in messages.privacy) > 0 then 0 else messages.attachment_count end), 0
    )
