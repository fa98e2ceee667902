-- mail.messages: one row per known message, its content stored or not; what only content tells is null until then.
-- key: account_id, message_id
-- reads: mail_staging.message_states, mail_staging.messages
-- refresh: incremental
-- changes by: account_id, message_id
-- changes from: mail_staging.message_states; mail_staging.messages
-- updated from: mail_staging.message_states (thread_id, label_ids, is_deleted, deleted_at, deleted_on, is_unread, is_starred, is_important, is_draft, is_sent, in_inbox, in_trash, in_spam, category, first_seen_at, changed_at)
-- mirrors: mail_staging.message_states; mail_staging.messages where has_content
-- index: account_id, internal_date desc; account_id, thread_id; account_id, received_on, is_sent, is_draft, has_content; account_id, deleted_on
-- text: subject, from_name, snippet, body_text
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column thread_id: Gmail's id of the thread.
-- column internal_date: when Gmail accepted the message; use it, not the Date header, for time.
-- column received_on: day of internal_date in the configured time zone (MAIL_INGEST_BUSINESS_HOURS).
-- column subject: subject, decoded.
-- column from_address: address of the first author.
-- column from_name: name of the first author.
-- column snippet: Gmail's short preview.
-- column body_text: readable text of the message, made from HTML where there is no text part.
-- column size_bytes: size of the raw message.
-- column importance: Importance header, as the sender set it.
-- column rfc822_message_id: Message-ID header; the same mail in two mailboxes shares it.
-- column in_reply_to: Message-ID of the mail that this one answers.
-- column label_ids: ids of its labels as a JSON array, sorted; mail.message_labels has them one by one.
-- column is_deleted: whether the message is gone for good (trash is in_trash).
-- column deleted_at: when the deletion was observed.
-- column deleted_on: day of deleted_at in the configured time zone.
-- column is_unread: whether the message is unread.
-- column is_starred: whether the message is starred.
-- column is_important: whether Gmail marks the message important.
-- column is_draft: whether the message is a draft; leave drafts out of counts of mail.
-- column is_sent: whether the owner sent the message.
-- column in_inbox: whether the message is in the inbox.
-- column in_trash: whether the message is in the trash.
-- column in_spam: whether the message is in spam.
-- column category: Gmail's inbox category (personal, social, promotions, updates, forums), null without one.
-- column has_attachments: whether the message has attachments; null until content is stored.
-- column has_content: whether the content is stored.
-- column privacy: privacy tier in whose form the content is stored, full where nothing was taken away; null until content is stored.
-- column first_seen_at: when a sync first saw the message.
-- column changed_at: when a sync last changed its thread, labels or deletion.
with states as (
    select *
    from mail_staging.message_states
),

contents as (
    select *
    from mail_staging.messages
)

select
    states.account_id,
    states.message_id,
    states.thread_id,
    contents.internal_date,
    mail_config.local_day(contents.internal_date) as received_on,
    contents.subject,
    contents.from_address,
    contents.from_name,
    contents.snippet,
    contents.body_text,
    contents.size_bytes,
    contents.importance,
    contents.rfc822_message_id,
    contents.in_reply_to,
    states.label_ids,
    states.is_deleted,
    states.deleted_at,
    mail_config.local_day(states.deleted_at) as deleted_on,
    states.label_ids like '%"UNREAD"%' as is_unread,
    states.label_ids like '%"STARRED"%' as is_starred,
    states.label_ids like '%"IMPORTANT"%' as is_important,
    states.label_ids like '%"DRAFT"%' as is_draft,
    states.label_ids like '%"SENT"%' as is_sent,
    states.label_ids like '%"INBOX"%' as in_inbox,
    states.label_ids like '%"TRASH"%' as in_trash,
    states.label_ids like '%"SPAM"%' as in_spam,
    case
        when states.label_ids like '%"CATEGORY#_PERSONAL"%' escape '#' then 'personal'
        when states.label_ids like '%"CATEGORY#_SOCIAL"%' escape '#' then 'social'
        when states.label_ids like '%"CATEGORY#_PROMOTIONS"%' escape '#' then 'promotions'
        when states.label_ids like '%"CATEGORY#_UPDATES"%' escape '#' then 'updates'
        when states.label_ids like '%"CATEGORY#_FORUMS"%' escape '#' then 'forums'
    end as category,
    contents.attachment_count > 0 as has_attachments,
    contents.message_id is not null as has_content,
    case when contents.message_id is not null then coalesce(contents.privacy, 'full') end as privacy,
    states.first_seen_at,
    states.changed_at
from states
left join contents
    on states.account_id = contents.account_id
    and states.message_id = contents.message_id
