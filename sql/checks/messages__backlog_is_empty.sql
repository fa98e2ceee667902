-- table: gmail.messages
-- catches: live messages without content; a backlog is normal while a mailbox is being copied, so it warns.
-- do: run `mail-ingest sync` until `mail-ingest status` shows no backlog; messages behind --content-since, or outside the labels of the account, stay in it on purpose.
-- severity: warn
select
    states.account_id,
    states.message_id
from gmail.message_states as states
left join gmail.messages as messages
    on states.account_id = messages.account_id
    and states.message_id = messages.message_id
left join gmail.left_out_messages as left_out
    on states.account_id = left_out.account_id
    and states.message_id = left_out.message_id
    and left_out.reason <> 'retention'
where messages.message_id is null
    and left_out.message_id is null
    and not states.is_deleted
