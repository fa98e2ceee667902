-- mail.labels: one row per label that a mailbox has or had.
-- key: account_id, label_id
-- reads: mail_staging.labels, mail.message_labels
-- refresh: incremental
-- changes by: account_id, label_id
-- changes from: mail_staging.labels; mail.message_labels
-- mirrors: mail_staging.labels
-- column account_id: account that owns the label.
-- column label_id: Gmail's id of the label; it outlives renames.
-- column name: display name; slashes nest.
-- column type: system or user.
-- column deleted_at: when the label was found missing; null while it exists.
-- column message_count: messages that carry the label now, deleted ones left out.
-- column unread_count: those of them that are unread.
with labels as (
    select
        account_id,
        label_id,
        name,
        type,
        deleted_at
    from mail_staging.labels
),

message_labels as (
    select
        account_id,
        label_id,
        is_unread,
        is_deleted
    from mail.message_labels
),

counts as (
    select
        account_id,
        label_id,
        count(*) as message_count,
        count(case when is_unread then 1 end) as unread_count
    from message_labels
    where not is_deleted
    group by account_id, label_id
)

select
    labels.account_id,
    labels.label_id,
    labels.name,
    labels.type,
    labels.deleted_at,
    coalesce(counts.message_count, 0) as message_count,
    coalesce(counts.unread_count, 0) as unread_count
from labels
left join counts
    on labels.account_id = counts.account_id
    and labels.label_id = counts.label_id
