-- table: mail.message_labels
-- catches: a live message that still carries a label which the mailbox no longer has.
-- do: run `mail-ingest sync ADDRESS --mode full`, which sweeps the labels of every message.
-- severity: error
select
    message_labels.account_id,
    message_labels.message_id,
    message_labels.label_id
from mail.message_labels as message_labels
inner join mail.labels as labels
    on message_labels.account_id = labels.account_id
    and message_labels.label_id = labels.label_id
where labels.deleted_at is not null
    and not message_labels.is_deleted
