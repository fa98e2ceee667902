-- mail.business_calendar: one row per day from 1990 to 2060, in the configured time zone.
-- key: day
-- reads: mail_config.business_hours, mail_config.holidays
-- refresh: incremental
-- column day: day in the configured time zone (MAIL_INGEST_BUSINESS_HOURS).
-- column is_business_day: whether people work on it: its weekday has hours, and it is no holiday (mail_config.holidays).
-- column opens_at: when business hours begin; midnight on a day without any.
-- column closes_at: when business hours end; equal to opens_at on a day without any. Clock changes are allowed for.
-- column business_seconds_before: business hours of all earlier days, in seconds; subtract two of them to have what lies between.
with days as (
    select cast(day as date) as day
    from generate_series(
        cast('1990-01-01' as timestamp), cast('2060-12-31' as timestamp), interval '1 day'
    ) as series(day)
),

hours as (
    select
        weekday,
        opens_minute,
        closes_minute
    from mail_config.business_hours
),

holidays as (
    select distinct day
    from mail_config.holidays
),

spans as (
    select
        days.day,
        hours.weekday is not null and holidays.day is null as is_business_day,
        case when holidays.day is null then coalesce(hours.opens_minute, 0) else 0 end as opens_minute,
        case when holidays.day is null then coalesce(hours.closes_minute, 0) else 0 end as closes_minute
    from days
    left join hours
        on extract(isodow from days.day) = hours.weekday
    left join holidays
        on days.day = holidays.day
),

moments as (
    select
        day,
        is_business_day,
        mail_config.from_local(cast(day as timestamp) + opens_minute * interval '1 minute') as opens_at,
        mail_config.from_local(cast(day as timestamp) + closes_minute * interval '1 minute') as closes_at
    from spans
)

select
    day,
    is_business_day,
    opens_at,
    closes_at,
    cast(
        coalesce(
            sum(extract(epoch from (closes_at - opens_at))) over (
                order by day
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as bigint
    ) as business_seconds_before
from moments
