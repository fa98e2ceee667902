-- mail.message_lifecycle: one row per message received, with its content stored: what became of it, and how soon.
-- key: account_id, message_id
-- reads: mail.messages, mail.label_intervals
-- refresh: incremental
-- changes by: account_id, thread_id
-- changes from: mail.messages; mail.label_intervals
-- index: account_id, thread_id; account_id, received_at desc; account_id, archived_on
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column thread_id: Gmail's id of the thread.
-- column from_address: address of the first author, in lower case.
-- column received_at: when Gmail accepted the message.
-- column read_after: the message was still unread at this moment; null where nothing was observed before it was read.
-- column read_at: when it was first observed as read after having been unread; null until then, and where no sync ever saw it unread.
-- column archived_at: when it was first observed to have left the inbox other than into trash or spam.
-- column archived_on: day of archived_at in the configured time zone.
-- column starred_at: when it was first observed with a star.
-- column replied_at: when the owner next sent a message in the thread.
-- column deleted_at: when its deletion was observed.
-- column seconds_to_read: from received_at to read_at, which is the latest it can be; history has no times.
-- column seconds_to_archive: from received_at to archived_at, the latest it can be.
-- column seconds_to_star: from received_at to starred_at, the latest it can be.
-- column seconds_to_reply: from received_at to replied_at.
with messages as (
    select
        account_id,
        message_id,
        thread_id,
        internal_date,
        from_address,
        is_sent,
        is_draft,
        deleted_at,
        has_content
    from mail.messages
),

intervals as (
    select
        account_id,
        message_id,
        thread_id,
        label_id,
        started_at,
        ended_after,
        ended_at,
        end_source
    from mail.label_intervals
),

thrown as (
    select distinct
        account_id,
        message_id,
        started_at
    from intervals
    where label_id in ('TRASH', 'SPAM')
),

firsts as (
    select
        intervals.account_id,
        intervals.message_id,
        min(case when intervals.label_id = 'UNREAD' and intervals.end_source <> 'deletion' then intervals.ended_at end)
            as read_at,
        min(case when intervals.label_id = 'UNREAD' and intervals.end_source <> 'deletion' then intervals.ended_after end)
            as read_after,
        min(
            case
                when intervals.label_id = 'INBOX' and intervals.end_source <> 'deletion' and thrown.started_at is null
                    then intervals.ended_at
            end
        ) as archived_at,
        min(case when intervals.label_id = 'STARRED' then intervals.started_at end) as starred_at
    from intervals
    left join thrown
        on intervals.account_id = thrown.account_id
        and intervals.message_id = thrown.message_id
        and intervals.ended_at = thrown.started_at
    group by intervals.account_id, intervals.message_id
),

timelines as (
    select
        account_id,
        message_id,
        thread_id,
        lower(from_address) as from_address,
        internal_date as received_at,
        is_sent,
        deleted_at,
        min(case when is_sent then internal_date end) over (
            partition by account_id, thread_id
            order by internal_date, message_id
            rows between 1 following and unbounded following
        ) as replied_at
    from messages
    where has_content
        and not is_draft
)

select
    timelines.account_id,
    timelines.message_id,
    timelines.thread_id,
    timelines.from_address,
    timelines.received_at,
    firsts.read_after,
    firsts.read_at,
    firsts.archived_at,
    mail_config.local_day(firsts.archived_at) as archived_on,
    firsts.starred_at,
    timelines.replied_at,
    timelines.deleted_at,
    cast(floor(extract(epoch from (firsts.read_at - timelines.received_at))) as bigint) as seconds_to_read,
    cast(floor(extract(epoch from (firsts.archived_at - timelines.received_at))) as bigint) as seconds_to_archive,
    cast(floor(extract(epoch from (firsts.starred_at - timelines.received_at))) as bigint) as seconds_to_star,
    cast(floor(extract(epoch from (timelines.replied_at - timelines.received_at))) as bigint) as seconds_to_reply
from timelines
left join firsts
    on timelines.account_id = firsts.account_id
    and timelines.message_id = firsts.message_id
where not timelines.is_sent
