-- table: mail.label_intervals
-- catches: a message that carries the same label twice at a time: a stretch that begins before the one before it has ended.
-- do: materialize the analyst tables with `rebuild`; if it stays, report it with the message and the label.
-- severity: error
with stretches as (
    select
        account_id,
        message_id,
        label_id,
        number,
        started_at,
        lag(number) over before as number_before,
        lag(ended_at) over before as ended_before
    from mail.label_intervals
    window before as (
        partition by account_id, message_id, label_id
        order by number
    )
)

select
    account_id,
    message_id,
    label_id,
    number
from stretches
where number_before is not null
    and (ended_before is null or started_at < ended_before)
