-- mail.account_health: one row per account that was synced, with what an operator looks at first.
-- key: account_id
-- reads: mail_staging.accounts, mail.sync_history, mail.messages, mail_staging.fetch_failures, mail_staging.left_out_messages
-- refresh: view
-- column account_id: account.
-- column account_group: group of the account (a team, a customer, a person), null without one.
-- column status: state of the account, as of the last sync of any: active, paused, needs_reauth, parked, cooling_down, removed.
-- column privacy: privacy tier of the account, as of the same moment: full, redacted, headers or hashed.
-- column last_synced_at: when a state sync last landed changes.
-- column last_full_sync_at: when ids and labels were last swept.
-- column last_outcome: outcome of the last sync that changed or failed something.
-- column last_error_class: class of the error that ended it; null without one.
-- column failures_in_a_row: syncs that failed since the last one that did not.
-- column units_7_days: quota units spent in the seven days up to the account's last sync.
-- column message_count: messages in the warehouse, deleted ones left out.
-- column messages_total: messages by Gmail's own count at the last sync.
-- column backlog_count: live messages whose content is not stored, those left out not counted.
-- column left_out_count: live messages of which nothing is stored on purpose: sign-in mail, and mail of erased people.
-- column failing_count: live messages whose content could not be fetched or parsed so far.
-- column dead_letter_count: those of them that are parked, and tried once a week.
-- column is_pushed: whether Gmail is to publish the account's changes, as of the last sync of any; null before that is known.
-- column watch_expires_at: until when Gmail publishes them, as of the same moment; in the past where the watch has lapsed.
-- column last_notified_at: when the account's last notification was taken in, as of the same moment; null without one.
with accounts as (
    select *
    from mail_staging.accounts
),

runs as (
    select *
    from mail.sync_history
),

messages as (
    select
        account_id,
        message_id,
        has_content
    from mail.messages
    where not is_deleted
),

failures as (
    select *
    from mail_staging.fetch_failures
    where resolved_at is null
),

left_out as (
    select *
    from mail_staging.left_out_messages
),

last_good as (
    select
        account_id,
        min(case when outcome <> 'failed' then run_number end) as run_number,
        max(started_at) as last_started_at
    from runs
    group by account_id
),

of_runs as (
    select
        runs.account_id,
        max(case when runs.run_number = 1 then runs.outcome end) as last_outcome,
        max(case when runs.run_number = 1 then runs.error_class end) as last_error_class,
        count(
            case when runs.outcome = 'failed' and (last_good.run_number is null or runs.run_number < last_good.run_number) then 1 end
        ) as failures_in_a_row,
        sum(case when runs.started_at > last_good.last_started_at - interval '7 days' then runs.units else 0 end) as units_7_days
    from runs
    inner join last_good
        on runs.account_id = last_good.account_id
    group by runs.account_id
),

of_messages as (
    select
        messages.account_id,
        count(*) as message_count,
        count(case when not messages.has_content and left_out.message_id is null then 1 end) as backlog_count,
        count(case when not messages.has_content and left_out.message_id is not null then 1 end) as left_out_count,
        count(failures.message_id) as failing_count,
        count(failures.parked_at) as dead_letter_count
    from messages
    left join failures
        on messages.account_id = failures.account_id
        and messages.message_id = failures.message_id
    left join left_out
        on messages.account_id = left_out.account_id
        and messages.message_id = left_out.message_id
    group by messages.account_id
)

select
    accounts.account_id,
    accounts.account_group,
    accounts.status,
    accounts.privacy,
    accounts.last_synced_at,
    accounts.last_full_sync_at,
    of_runs.last_outcome,
    of_runs.last_error_class,
    coalesce(of_runs.failures_in_a_row, 0) as failures_in_a_row,
    cast(coalesce(of_runs.units_7_days, 0) as bigint) as units_7_days,
    coalesce(of_messages.message_count, 0) as message_count,
    accounts.messages_total,
    coalesce(of_messages.backlog_count, 0) as backlog_count,
    coalesce(of_messages.left_out_count, 0) as left_out_count,
    coalesce(of_messages.failing_count, 0) as failing_count,
    coalesce(of_messages.dead_letter_count, 0) as dead_letter_count,
    accounts.is_pushed,
    accounts.watch_expires_at,
    accounts.last_notified_at
from accounts
left join of_runs
    on accounts.account_id = of_runs.account_id
left join of_messages
    on accounts.account_id = of_messages.account_id
