-- mail.daily_mailbox: one row per account and day, from the first day with mail to the last day on which anything happened.
-- key: account_id, day
-- reads: mail.messages, mail.label_intervals, mail.message_lifecycle, mail.business_calendar
-- refresh: incremental
-- changes by: account_id
-- changes from: mail.messages; mail.label_intervals; mail.message_lifecycle
-- column account_id: account.
-- column day: day in the configured time zone (MAIL_INGEST_BUSINESS_HOURS); none before 1990.
-- column received_count: messages that arrived, drafts and the owner's own left out; deleted ones count on the day they came.
-- column sent_count: messages that the owner sent.
-- column read_count: messages observed as read. What is known by observation alone counts on the day it was observed.
-- column archived_count: messages observed to have left the inbox other than into trash or spam, for the first time.
-- column deleted_count: messages whose deletion was observed.
-- column unread_count: messages unread at the end of the day by what was observed until then; 0 before the first sync.
-- not materialized: Postgres would write a million rows to disk to read them twice; so it reads indexes alone
with messages as not materialized (
    select
        account_id,
        received_on,
        is_sent,
        is_draft,
        deleted_at
    from mail.messages
),

intervals as not materialized (
    select
        account_id,
        label_id,
        started_on,
        ended_on,
        end_source
    from mail.label_intervals
),

lifecycles as not materialized (
    select
        account_id,
        archived_at
    from mail.message_lifecycle
),

days as (
    select day
    from mail.business_calendar
),

facts as (
    select
        account_id,
        received_on as day,
        count(case when not is_sent and not is_draft then 1 end) as received_count,
        count(case when is_sent then 1 end) as sent_count,
        0 as read_count,
        0 as archived_count,
        0 as deleted_count,
        0 as unread_change
    from messages
    where received_on is not null
    group by account_id, received_on

    union all

    select
        account_id,
        mail_config.local_day(deleted_at) as day,
        0, 0, 0, 0, count(*), 0
    from messages
    where deleted_at is not null
    group by account_id, mail_config.local_day(deleted_at)

    union all

    select
        account_id,
        mail_config.local_day(archived_at) as day,
        0, 0, 0, count(*), 0, 0
    from lifecycles
    where archived_at is not null
    group by account_id, mail_config.local_day(archived_at)

    union all

    select
        account_id,
        started_on as day,
        0, 0, 0, 0, 0, count(*)
    from intervals
    where label_id = 'UNREAD'
    group by account_id, started_on

    union all

    select
        account_id,
        ended_on as day,
        0, 0, count(case when end_source <> 'deletion' then 1 end), 0, 0, -count(*)
    from intervals
    where label_id = 'UNREAD'
        and ended_on is not null
    group by account_id, ended_on
),

totals as (
    select
        account_id,
        day,
        sum(received_count) as received_count,
        sum(sent_count) as sent_count,
        sum(read_count) as read_count,
        sum(archived_count) as archived_count,
        sum(deleted_count) as deleted_count,
        sum(unread_change) as unread_change
    from facts
    group by account_id, day
),

ends as (
    select
        account_id,
        min(day) as first_day,
        max(day) as last_day
    from totals
    group by account_id
)

select
    ends.account_id,
    days.day,
    cast(coalesce(totals.received_count, 0) as bigint) as received_count,
    cast(coalesce(totals.sent_count, 0) as bigint) as sent_count,
    cast(coalesce(totals.read_count, 0) as bigint) as read_count,
    cast(coalesce(totals.archived_count, 0) as bigint) as archived_count,
    cast(coalesce(totals.deleted_count, 0) as bigint) as deleted_count,
    cast(
        sum(coalesce(totals.unread_change, 0)) over (
            partition by ends.account_id
            order by days.day
            rows between unbounded preceding and current row
        ) as bigint
    ) as unread_count
from ends
inner join days
    on days.day between ends.first_day and ends.last_day
left join totals
    on ends.account_id = totals.account_id
    and days.day = totals.day
