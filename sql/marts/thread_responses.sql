-- mail.thread_responses: one row per reply: a message in a thread after one by somebody else. Drafts and deleted messages are left out.
-- key: account_id, message_id
-- reads: mail.messages, mail.business_calendar
-- refresh: incremental
-- changes by: account_id, thread_id
-- changes from: mail.messages
-- index: account_id, thread_id; account_id, responder_address
-- order: account_id, responded_at
-- column account_id: account that holds the thread.
-- column thread_id: Gmail's id of the thread.
-- column message_id: Gmail's id of the reply.
-- column number: number of the reply in the thread, from 1.
-- column is_first_response: whether it is the first by anybody but the author of the thread's first message.
-- column responder_address: who replied, in lower case; the account for messages that the owner sent, whatever address they carry.
-- column is_sent: whether the owner replied.
-- column responded_at: when the reply arrived.
-- column to_message_id: the message that waited: the first of those that the other author wrote in a row.
-- column to_address: who wrote that message, in lower case.
-- column waiting_since: when that message arrived.
-- column response_seconds: from waiting_since to responded_at.
-- column business_seconds: the part of it within business hours (mail.business_calendar); null outside the calendar's years.
with messages as (
    select
        account_id,
        thread_id,
        message_id,
        internal_date,
        from_address,
        is_sent,
        is_draft,
        is_deleted,
        has_content,
        received_on
    from mail.messages
),

calendar as (
    select *
    from mail.business_calendar
),

authored as (
    select
        account_id,
        thread_id,
        message_id,
        internal_date,
        received_on,
        is_sent,
        case when is_sent then account_id else coalesce(lower(from_address), '') end as author
    from messages
    where has_content
        and not is_draft
        and not is_deleted
),

turns as (
    select
        *,
        lag(author) over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as author_before
    from authored
),

-- the first of each run of messages by one author
firsts as (
    select
        *,
        row_number() over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) - 1 as number,
        lag(message_id) over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as to_message_id,
        lag(internal_date) over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as waiting_since,
        lag(received_on) over (
            partition by account_id, thread_id
            order by internal_date, message_id
        ) as waiting_on
    from turns
    where author_before is null or author_before <> author
),

measured as (
    select
        firsts.*,
        until.business_seconds_before
        + extract(epoch from (least(greatest(firsts.internal_date, until.opens_at), until.closes_at) - until.opens_at))
            as seconds_until,
        since.business_seconds_before
        + extract(epoch from (least(greatest(firsts.waiting_since, since.opens_at), since.closes_at) - since.opens_at))
            as seconds_since
    from firsts
    left join calendar as until
        on firsts.received_on = until.day
    left join calendar as since
        on firsts.waiting_on = since.day
    where firsts.to_message_id is not null
)

select
    account_id,
    thread_id,
    message_id,
    number,
    number = 1 as is_first_response,
    author as responder_address,
    is_sent,
    internal_date as responded_at,
    to_message_id,
    author_before as to_address,
    waiting_since,
    cast(floor(extract(epoch from (internal_date - waiting_since))) as bigint) as response_seconds,
    cast(floor(seconds_until - seconds_since) as bigint) as business_seconds
from measured
