-- mail.label_intervals: one row per stretch of time in which a message carried a label.
-- key: account_id, message_id, label_id, number
-- reads: mail_staging.label_events, mail.messages
-- refresh: incremental
-- changes by: account_id, message_id
-- changes from: mail_staging.label_events; mail.messages
-- full when rows vanish from: gmail.label_events
-- index: account_id, thread_id; account_id, started_on, label_id; account_id, ended_on, label_id, end_source
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column thread_id: Gmail's id of the thread.
-- column label_id: Gmail's id of the label.
-- column number: number of the stretch among those of this label on this message, from 1.
-- column started_after: the label came after this moment; null where nothing was observed before.
-- column started_at: the label came at this moment at the latest: when a sync observed it. Gmail's history has no times.
-- column start_source: history; sweep (a difference found after history had expired); first_seen (it was there at first sight, for nobody knows how long); state (the message carries it though the last change seen took it off).
-- column ended_after: the label went after this moment; null while it is there, or where nothing was observed before.
-- column ended_at: the label went at this moment at the latest; null while it is there.
-- column end_source: history; sweep; deletion (the message went with it); state (the message does not carry it though no change seen took it off). Null while it is there.
-- column is_open: whether the message carries the label now.
-- column started_on: day of started_at in the configured time zone.
-- column ended_on: day of ended_at in the configured time zone.
with states as (
    select
        account_id,
        message_id,
        thread_id,
        label_ids,
        is_deleted,
        deleted_at,
        first_seen_at,
        changed_at
    from mail.messages
),

events as (
    select *
    from mail_staging.label_events
),

carried as (
    select
        account_id,
        message_id,
        unnest(string_to_array(substr(label_ids, 3, length(label_ids) - 4), '","')) as label_id
    from states
    where label_ids like '["%'
),

marked as (
    select
        account_id,
        message_id,
        label_id,
        action,
        history_id,
        observed_after,
        observed_at,
        source,
        lag(action) over (
            partition by account_id, message_id, label_id
            order by observed_at, history_id, action
        ) as action_before
    from events
    where label_id <> ''
),

-- what history tells twice, or a sweep after it, is one change
changes as (
    select
        account_id,
        message_id,
        label_id,
        action,
        action_before,
        observed_after,
        observed_at,
        source,
        lead(observed_after) over (
            partition by account_id, message_id, label_id
            order by observed_at, history_id, action
        ) as next_after,
        lead(observed_at) over (
            partition by account_id, message_id, label_id
            order by observed_at, history_id, action
        ) as next_at,
        lead(source) over (
            partition by account_id, message_id, label_id
            order by observed_at, history_id, action
        ) as next_source
    from marked
    where action_before is null or action_before <> action
),

stretches as (
    select
        account_id,
        message_id,
        label_id,
        observed_after as started_after,
        observed_at as started_at,
        source as start_source,
        next_after as ended_after,
        next_at as ended_at,
        next_source as end_source
    from changes
    where action = 'added'

    union all

    -- the first change seen took it off: it was there at first sight
    select
        changes.account_id,
        changes.message_id,
        changes.label_id,
        cast(null as timestamp with time zone) as started_after,
        least(states.first_seen_at, changes.observed_at) as started_at,
        'first_seen' as start_source,
        changes.observed_after as ended_after,
        changes.observed_at as ended_at,
        changes.source as end_source
    from changes
    inner join states
        on changes.account_id = states.account_id
        and changes.message_id = states.message_id
    where changes.action = 'removed'
        and changes.action_before is null

    union all

    -- it is there without any change seen, or though the last one took it off
    select
        carried.account_id,
        carried.message_id,
        carried.label_id,
        changes.observed_at as started_after,
        case
            when changes.observed_at is null then states.first_seen_at
            else greatest(states.changed_at, changes.observed_at)
        end as started_at,
        case when changes.observed_at is null then 'first_seen' else 'state' end as start_source,
        cast(null as timestamp with time zone) as ended_after,
        cast(null as timestamp with time zone) as ended_at,
        cast(null as varchar) as end_source
    from carried
    inner join states
        on carried.account_id = states.account_id
        and carried.message_id = states.message_id
    left join changes
        on carried.account_id = changes.account_id
        and carried.message_id = changes.message_id
        and carried.label_id = changes.label_id
        and changes.next_at is null
    where changes.observed_at is null
        or (changes.action = 'removed' and not states.is_deleted)
),

deletions as (
    select
        account_id,
        message_id,
        max(observed_after) as observed_after
    from events
    where label_id = ''
        and action = 'removed'
    group by account_id, message_id
),

closed as (
    select
        stretches.account_id,
        stretches.message_id,
        states.thread_id,
        stretches.label_id,
        stretches.started_after,
        stretches.started_at,
        stretches.start_source,
        case
            when stretches.ended_at is not null then stretches.ended_after
            when states.is_deleted then deletions.observed_after
            when carried.label_id is null then stretches.started_at
        end as ended_after,
        case
            when stretches.ended_at is not null then stretches.ended_at
            when states.is_deleted then greatest(states.deleted_at, stretches.started_at)
            when carried.label_id is null then greatest(states.changed_at, stretches.started_at)
        end as ended_at,
        case
            when stretches.ended_at is not null then stretches.end_source
            when states.is_deleted then 'deletion'
            when carried.label_id is null then 'state'
        end as end_source
    from stretches
    inner join states
        on stretches.account_id = states.account_id
        and stretches.message_id = states.message_id
    left join deletions
        on stretches.account_id = deletions.account_id
        and stretches.message_id = deletions.message_id
    left join carried
        on stretches.account_id = carried.account_id
        and stretches.message_id = carried.message_id
        and stretches.label_id = carried.label_id
)

select
    account_id,
    message_id,
    thread_id,
    label_id,
    row_number() over (
        partition by account_id, message_id, label_id
        order by started_at, ended_at nulls last, start_source, started_after nulls first, ended_after nulls first
    ) as number,
    started_after,
    started_at,
    start_source,
    ended_after,
    ended_at,
    end_source,
    ended_at is null as is_open,
    mail_config.local_day(started_at) as started_on,
    mail_config.local_day(ended_at) as ended_on
from closed
