-- mail.daily_mailbox: one row per account and day, from the first day with mail to the last day on which anything happened.
-- key: account_id, day
-- reads: mail.daily_activity, mail.business_calendar
-- refresh: view
-- column account_id: account.
-- column day: day in the configured time zone (MAIL_INGEST_BUSINESS_HOURS); none before 1990.
-- column received_count: messages that arrived, drafts and the owner's own left out; deleted ones count on the day they came.
-- column sent_count: messages that the owner sent.
-- column read_count: messages observed as read. What is known by observation alone counts on the day it was observed.
-- column archived_count: messages observed to have left the inbox other than into trash or spam, for the first time.
-- column deleted_count: messages whose deletion was observed.
-- column unread_count: messages unread at the end of the day by what was observed until then; 0 before the first sync.
with activity as (
    select *
    from mail.daily_activity
),

days as (
    select day
    from mail.business_calendar
),

ends as (
    select
        account_id,
        min(day) as first_day,
        max(day) as last_day
    from activity
    group by account_id
)

select
    ends.account_id,
    days.day,
    coalesce(activity.received_count, 0) as received_count,
    coalesce(activity.sent_count, 0) as sent_count,
    coalesce(activity.read_count, 0) as read_count,
    coalesce(activity.archived_count, 0) as archived_count,
    coalesce(activity.deleted_count, 0) as deleted_count,
    cast(
        sum(coalesce(activity.unread_change, 0)) over (
            partition by ends.account_id
            order by days.day
            rows between unbounded preceding and current row
        ) as bigint
    ) as unread_count
from ends
inner join days
    on days.day between ends.first_day and ends.last_day
left join activity
    on ends.account_id = activity.account_id
    and days.day = activity.day
