-- mail.threads: one row per thread that has messages left; deleted messages are not counted.
-- key: account_id, thread_id
-- reads: mail.messages
-- refresh: view
-- column account_id: account that holds the thread.
-- column thread_id: Gmail's id of the thread.
-- column subject: subject of the oldest message whose content is stored.
-- column message_count: messages in the thread.
-- column unread_count: unread messages in the thread.
-- column sent_count: messages that the owner sent.
-- column draft_count: drafts in the thread.
-- column first_message_at: when the oldest message arrived.
-- column last_message_at: when the newest message arrived.
-- column participant_count: distinct authors.
-- column has_attachments: whether any message has attachments.
-- column in_inbox: whether any message is in the inbox.
-- column has_all_content: whether the content of every message is stored.
with messages as (
    select * from mail.messages
    where not is_deleted
),

ranked as (
    select
        account_id,
        thread_id,
        subject,
        row_number() over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as position
    from messages
    where has_content
),

totals as (
    select
        account_id,
        thread_id,
        count(*) as message_count,
        sum(case when is_unread then 1 else 0 end) as unread_count,
        sum(case when is_sent then 1 else 0 end) as sent_count,
        sum(case when is_draft then 1 else 0 end) as draft_count,
        min(internal_date) as first_message_at,
        max(internal_date) as last_message_at,
        count(distinct lower(from_address)) as participant_count,
        max(case when has_attachments then 1 else 0 end) = 1 as has_attachments,
        max(case when in_inbox then 1 else 0 end) = 1 as in_inbox,
        min(case when has_content then 1 else 0 end) = 1 as has_all_content
    from messages
    group by account_id, thread_id
)

select
    totals.account_id,
    totals.thread_id,
    ranked.subject,
    cast(totals.message_count as bigint) as message_count,
    cast(totals.unread_count as bigint) as unread_count,
    cast(totals.sent_count as bigint) as sent_count,
    cast(totals.draft_count as bigint) as draft_count,
    totals.first_message_at,
    totals.last_message_at,
    cast(totals.participant_count as bigint) as participant_count,
    totals.has_attachments,
    totals.in_inbox,
    totals.has_all_content
from totals
left join ranked
    on totals.account_id = ranked.account_id
    and totals.thread_id = ranked.thread_id
    and ranked.position = 1
