-- mail.threads: one row per thread that has messages left; deleted messages are not counted.
-- key: account_id, thread_id
-- reads: mail.messages
-- refresh: incremental
-- changes by: account_id, thread_id
-- changes from: mail.messages
-- index: account_id, last_message_at desc
-- text: subject, normalized_subject
-- column account_id: account that holds the thread.
-- column thread_id: Gmail's id of the thread.
-- column subject: subject of the oldest message whose content is stored.
-- column normalized_subject: subject in lower case without Re:, Fwd: and their like, white space folded; equal for all of a conversation.
-- column message_count: messages in the thread.
-- column unread_count: unread messages in the thread.
-- column sent_count: messages that the owner sent.
-- column draft_count: drafts in the thread.
-- column first_message_at: when the oldest message arrived.
-- column last_message_at: when the newest message arrived, drafts left out.
-- column first_message_id: the oldest message whose content is stored.
-- column last_message_id: the newest message whose content is stored, drafts left out.
-- column participant_count: distinct authors.
-- column participants: addresses of the authors, in lower case, separated by commas.
-- column status: answered where the owner sent the last message (drafts left out), open where somebody else did and a message is in the inbox, closed otherwise; null until content is stored.
-- column has_attachments: whether any message has attachments.
-- column in_inbox: whether any message is in the inbox.
-- column has_all_content: whether the content of every message is stored.
with messages as (
    select
        account_id,
        thread_id,
        message_id,
        internal_date,
        subject,
        from_address,
        is_deleted,
        is_unread,
        is_sent,
        is_draft,
        in_inbox,
        has_attachments,
        has_content
    from mail.messages
),

live as (
    select *
    from messages
    where not is_deleted
),

ranked as (
    select
        account_id,
        thread_id,
        message_id,
        subject,
        is_sent,
        is_draft,
        row_number() over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as place,
        row_number() over (
            partition by account_id, thread_id, is_draft
            order by internal_date desc, message_id desc
        ) as place_from_end
    from live
    where has_content
),

ends as (
    select
        account_id,
        thread_id,
        max(case when place = 1 then message_id end) as first_message_id,
        max(case when place = 1 then subject end) as subject,
        max(case when place_from_end = 1 and not is_draft then message_id end) as last_message_id,
        max(case when place_from_end = 1 and not is_draft and is_sent then 1 else 0 end) = 1 as is_answered
    from ranked
    group by account_id, thread_id
),

totals as (
    select
        account_id,
        thread_id,
        count(*) as message_count,
        count(case when is_unread then 1 end) as unread_count,
        count(case when is_sent then 1 end) as sent_count,
        count(case when is_draft then 1 end) as draft_count,
        min(internal_date) as first_message_at,
        max(case when not is_draft then internal_date end) as last_message_at,
        count(distinct lower(from_address)) as participant_count,
        -- not the database's own order, which differs from server to server
        string_agg(distinct lower(from_address) collate "C", ', ' order by lower(from_address) collate "C") as participants,
        max(case when has_attachments then 1 else 0 end) = 1 as has_attachments,
        max(case when in_inbox then 1 else 0 end) = 1 as in_inbox,
        min(case when has_content then 1 else 0 end) = 1 as has_all_content
    from live
    group by account_id, thread_id
)

select
    totals.account_id,
    totals.thread_id,
    ends.subject,
    trim(
        regexp_replace(
            trim(
                regexp_replace(
                    lower(ends.subject),
                    -- not \s, which means ASCII alone on one database and what the locale says on the other
                    '[\t-\r ' || chr(160) || chr(8192) || '-' || chr(8202) || chr(12288) || ']+', ' ', 'g'
                )
            ),
            '^( ?(re|fw|fwd|aw|wg|sv|vs|antw|tr|rv|res|enc)(\[[0-9]+\])*:)+', ''
        )
    ) as normalized_subject,
    totals.message_count,
    totals.unread_count,
    totals.sent_count,
    totals.draft_count,
    totals.first_message_at,
    totals.last_message_at,
    ends.first_message_id,
    ends.last_message_id,
    totals.participant_count,
    totals.participants,
    case
        when ends.last_message_id is null then null
        when ends.is_answered then 'answered'
        when totals.in_inbox then 'open'
        else 'closed'
    end as status,
    totals.has_attachments,
    totals.in_inbox,
    totals.has_all_content
from totals
left join ends
    on totals.account_id = ends.account_id
    and totals.thread_id = ends.thread_id
