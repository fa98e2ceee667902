-- mail.message_labels: one row per message and label it carries now; deleted messages keep the labels they had when last seen.
-- key: account_id, message_id, label_id
-- reads: mail_staging.message_labels, mail_staging.labels
-- refresh: view
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column label_id: Gmail's id of the label.
-- column label_name: name of the label; null where Gmail's list of labels does not name it.
-- column is_deleted: whether the message is gone for good.
with message_labels as (
    select * from mail_staging.message_labels
),

labels as (
    select * from mail_staging.labels
)

select
    message_labels.account_id,
    message_labels.message_id,
    message_labels.label_id,
    labels.name as label_name,
    message_labels.is_deleted
from message_labels
left join labels
    on message_labels.account_id = labels.account_id
    and message_labels.label_id = labels.label_id
