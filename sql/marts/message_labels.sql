-- mail.message_labels: one row per message and label it carries now; deleted messages keep the labels they had when last seen.
-- key: account_id, message_id, label_id
-- reads: mail.messages, mail_staging.labels
-- refresh: incremental
-- changes by: account_id, message_id
-- changes from: mail.messages
-- changes through: mail_staging.labels on account_id, label_id
-- index: account_id, label_id, is_deleted, is_unread
-- order: account_id, label_id
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column label_id: Gmail's id of the label.
-- column label_name: name of the label; null where Gmail's list of labels does not name it.
-- column is_unread: whether the message is unread.
-- column is_deleted: whether the message is gone for good.
with messages as (
    select
        account_id,
        message_id,
        label_ids,
        is_unread,
        is_deleted
    from mail.messages
),

labels as (
    select
        account_id,
        label_id,
        name
    from mail_staging.labels
),

carried as (
    select
        account_id,
        message_id,
        is_deleted,
        is_unread,
        unnest(string_to_array(substr(label_ids, 3, length(label_ids) - 4), '","')) as label_id
    from messages
    where label_ids like '["%'
)

select
    carried.account_id,
    carried.message_id,
    carried.label_id,
    labels.name as label_name,
    carried.is_unread,
    carried.is_deleted
from carried
left join labels
    on carried.account_id = labels.account_id
    and carried.label_id = labels.label_id
