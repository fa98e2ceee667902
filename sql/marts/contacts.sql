-- mail.contacts: one row per address that wrote to a mailbox or was written to; its own address, drafts and deleted mail left out.
-- key: account_id, address
-- reads: mail.recipients, mail_config.internal_domains, mail_config.hashed_domains
-- refresh: incremental
-- changes by: account_id, address
-- changes from: mail.recipients (account_id, contact_address)
-- text: name, names
-- column account_id: account whose contact it is.
-- column address: address in lower case.
-- column name: name seen most often beside the address; null where none was seen.
-- column names: up to ten names seen beside the address, the most frequent first, separated by semicolons.
-- column name_count: distinct names seen.
-- column domain: part of the address after the last at sign.
-- column is_internal: whether the domain is the account's own (unless that is gmail.com or googlemail.com), or is in MAIL_INGEST_INTERNAL_DOMAINS; hashed domains alike.
-- column first_message_at: when the first message from or to the contact arrived.
-- column last_message_at: when the last message from or to the contact arrived.
-- column received_count: messages that the contact wrote and the owner did not send.
-- column sent_count: messages that the owner sent to the contact, copies included.
with recipients as (
    select
        account_id,
        message_id,
        contact_address as address,
        kind,
        name,
        domain,
        internal_date,
        is_sent,
        is_draft,
        is_deleted
    from mail.recipients
),

hashed_domains as (
    select *
    from mail_config.hashed_domains
),

internal_domains as (
    select domain
    from mail_config.internal_domains
    union
    select hashed_domains.hashed_domain
    from hashed_domains
    inner join mail_config.internal_domains as internal
        on hashed_domains.domain = internal.domain
),

seen as (
    select *
    from recipients
    where address is not null
        and not is_deleted
        and not is_draft
),

names as (
    select
        account_id,
        address,
        name,
        row_number() over (partition by account_id, address order by count(*) desc, name collate "C") as place
    from seen
    where name <> ''
    group by account_id, address, name
),

named as (
    select
        account_id,
        address,
        max(case when place = 1 then name end) as name,
        string_agg(name, '; ' order by place) filter (where place <= 10) as names,
        count(*) as name_count
    from names
    group by account_id, address
),

totals as (
    select
        account_id,
        address,
        min(domain) as domain,
        min(internal_date) as first_message_at,
        max(internal_date) as last_message_at,
        count(distinct case when kind = 'from' and not is_sent then message_id end) as received_count,
        count(distinct case when kind in ('to', 'cc', 'bcc') and is_sent then message_id end) as sent_count
    from seen
    group by account_id, address
)

select
    totals.account_id,
    totals.address,
    named.name,
    named.names,
    coalesce(named.name_count, 0) as name_count,
    totals.domain,
    internal_domains.domain is not null
    or (
        totals.domain in (split_part(totals.account_id, '@', -1), coalesce(own_domains.hashed_domain, ''))
        and split_part(totals.account_id, '@', -1) not in ('gmail.com', 'googlemail.com')
    ) as is_internal,
    totals.first_message_at,
    totals.last_message_at,
    totals.received_count,
    totals.sent_count
from totals
left join named
    on totals.account_id = named.account_id
    and totals.address = named.address
left join internal_domains
    on totals.domain = internal_domains.domain
left join hashed_domains as own_domains
    on split_part(totals.account_id, '@', -1) = own_domains.domain
