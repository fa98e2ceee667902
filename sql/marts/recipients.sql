-- mail.recipients: one row per address in an address header of a message, its authors included.
-- key: account_id, message_id, kind, position
-- reads: mail_staging.recipients, mail_staging.message_states
-- refresh: view
-- column account_id: account that holds the message.
-- column message_id: Gmail's id of the message.
-- column kind: from, sender, reply_to, to, cc or bcc.
-- column position: place in the header, from 0.
-- column name: display name, decoded; empty without one.
-- column address: address as written.
-- column domain: part of the address after the last at sign, lower case; null without one.
-- column group_name: name of the address group it stands in; empty outside groups.
-- column is_deleted: whether the message is gone for good.
with recipients as (
    select * from mail_staging.recipients
),

states as (
    select * from mail_staging.message_states
)

select
    recipients.account_id,
    recipients.message_id,
    recipients.kind,
    recipients.position,
    recipients.name,
    recipients.address,
    case when position('@' in recipients.address) > 0 then lower(split_part(recipients.address, '@', -1)) end as domain,
    recipients.group_name,
    states.is_deleted
from recipients
inner join states
    on recipients.account_id = states.account_id
    and recipients.message_id = states.message_id
