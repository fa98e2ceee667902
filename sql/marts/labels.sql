-- mail.labels: one row per label that a mailbox has or had.
-- key: account_id, label_id
-- reads: mail_staging.labels, mail_staging.message_labels
-- refresh: view
-- column account_id: account that owns the label.
-- column label_id: Gmail's id of the label; it outlives renames.
-- column name: display name; slashes nest.
-- column type: system or user.
-- column deleted_at: when the label was found missing; null while it exists.
-- column message_count: messages that carry the label now, deleted ones left out.
with labels as (
    select * from mail_staging.labels
),

counts as (
    select
        account_id,
        label_id,
        count(*) as message_count
    from mail_staging.message_labels
    where not is_deleted
    group by account_id, label_id
)

select
    labels.account_id,
    labels.label_id,
    labels.name,
    labels.type,
    labels.deleted_at,
    coalesce(counts.message_count, 0) as message_count
from labels
left join counts
    on labels.account_id = counts.account_id
    and labels.label_id = counts.label_id
