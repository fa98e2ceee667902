-- mail.attachments: one row per attachment, inline images and attached messages included.
-- key: account_id, message_id, part_id
-- reads: mail_staging.attachments, mail_staging.message_states
-- refresh: view
-- text: file_name
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column part_id: Gmail's path of the part.
-- column file_name: file name, decoded; untrusted, may hold path separators.
-- column content_type: declared type, lower case.
-- column disposition: attachment, inline or empty.
-- column is_inline: whether the part is shown inside the body.
-- column size_bytes: decoded size.
-- column sha256: SHA-256 of the decoded bytes; equal files share it.
-- column in_part_id: part_id of the attached message that holds it; null at the message's own level.
-- column is_deleted: whether the message is gone for good.
with attachments as (
    select * from mail_staging.attachments
),

states as (
    select * from mail_staging.message_states
)

select
    attachments.account_id,
    attachments.message_id,
    attachments.part_id,
    attachments.file_name,
    attachments.content_type,
    attachments.disposition,
    attachments.is_inline,
    attachments.size_bytes,
    attachments.sha256,
    attachments.in_part_id,
    states.is_deleted
from attachments
inner join states
    on attachments.account_id = states.account_id
    and attachments.message_id = states.message_id
