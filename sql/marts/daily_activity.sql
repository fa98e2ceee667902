-- mail.daily_activity: one row per account and day on which anything happened; mail.daily_mailbox has the days between as well.
-- key: account_id, day
-- reads: mail.messages, mail.label_intervals, mail.message_lifecycle
-- refresh: incremental
-- changes by: account_id, day
-- changes from: mail.messages (account_id, received_on); mail.messages (account_id, deleted_on); mail.message_lifecycle (account_id, archived_on); mail.label_intervals (account_id, started_on); mail.label_intervals (account_id, ended_on)
-- order: account_id, day
-- column account_id: account.
-- column day: day in the configured time zone (MAIL_INGEST_BUSINESS_HOURS).
-- column received_count: messages that arrived, drafts and the owner's own left out; deleted ones count on the day they came.
-- column sent_count: messages that the owner sent.
-- column read_count: messages observed as read. What is known by observation alone counts on the day it was observed.
-- column archived_count: messages observed to have left the inbox other than into trash or spam, for the first time.
-- column deleted_count: messages whose deletion was observed.
-- column unread_change: messages that became unread, less those that ceased to be.
-- not materialized: Postgres would write a million rows to disk to read them once
with arrivals as not materialized (
    select
        account_id,
        received_on,
        is_sent,
        is_draft
    from mail.messages
),

deletions as not materialized (
    select
        account_id,
        deleted_on
    from mail.messages
),

archivals as not materialized (
    select
        account_id,
        archived_on
    from mail.message_lifecycle
),

starts as not materialized (
    select
        account_id,
        label_id,
        started_on
    from mail.label_intervals
),

ends as not materialized (
    select
        account_id,
        label_id,
        ended_on,
        end_source
    from mail.label_intervals
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
    from arrivals
    where received_on is not null
    group by account_id, received_on

    union all

    select
        account_id,
        deleted_on as day,
        0, 0, 0, 0, count(*), 0
    from deletions
    where deleted_on is not null
    group by account_id, deleted_on

    union all

    select
        account_id,
        archived_on as day,
        0, 0, 0, count(*), 0, 0
    from archivals
    where archived_on is not null
    group by account_id, archived_on

    union all

    select
        account_id,
        started_on as day,
        0, 0, 0, 0, 0, count(*)
    from starts
    where label_id = 'UNREAD'
    group by account_id, started_on

    union all

    select
        account_id,
        ended_on as day,
        0, 0, count(case when end_source <> 'deletion' then 1 end), 0, 0, -count(*)
    from ends
    where label_id = 'UNREAD'
        and ended_on is not null
    group by account_id, ended_on
)

select
    account_id,
    day,
    cast(sum(received_count) as bigint) as received_count,
    cast(sum(sent_count) as bigint) as sent_count,
    cast(sum(read_count) as bigint) as read_count,
    cast(sum(archived_count) as bigint) as archived_count,
    cast(sum(deleted_count) as bigint) as deleted_count,
    cast(sum(unread_change) as bigint) as unread_change
from facts
group by account_id, day
