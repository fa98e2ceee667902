-- mail.recipients: one row per address in an address header of a message, its authors included.
-- key: account_id, message_id, kind, position
-- reads: mail_staging.recipients, mail.messages
-- refresh: incremental
-- changes by: account_id, message_id
-- changes from: mail_staging.recipients; mail.messages
-- mirrors: mail_staging.recipients
-- index: account_id, contact_address, internal_date desc; account_id, message_id
-- order: account_id, contact_address, internal_date
-- text: name, group_name
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column kind: from, sender, reply_to, to, cc or bcc.
-- column position: place in the header, from 0.
-- column name: display name, decoded; empty without one.
-- column address: address as written.
-- column contact_address: address in lower case, as mail.contacts knows it; null for the mailbox's own, and where it is no address.
-- column domain: part of the address after the last at sign, lower case; null without one.
-- column group_name: name of the address group it stands in; empty outside groups.
-- column internal_date: when Gmail accepted the message.
-- column is_sent: whether the owner sent the message.
-- column is_draft: whether the message is a draft.
-- column is_deleted: whether the message is gone for good.
with recipients as (
    select *
    from mail_staging.recipients
),

messages as (
    select
        account_id,
        message_id,
        internal_date,
        is_sent,
        is_draft,
        is_deleted
    from mail.messages
)

select
    recipients.account_id,
    recipients.message_id,
    recipients.kind,
    recipients.position,
    recipients.name,
    recipients.address,
    case
        when position('@' in recipients.address) > 0 then nullif(lower(recipients.address), recipients.account_id)
    end as contact_address,
    case when position('@' in recipients.address) > 0 then lower(split_part(recipients.address, '@', -1)) end as domain,
    recipients.group_name,
    messages.internal_date,
    messages.is_sent,
    messages.is_draft,
    messages.is_deleted
from recipients
inner join messages
    on recipients.account_id = messages.account_id
    and recipients.message_id = messages.message_id
