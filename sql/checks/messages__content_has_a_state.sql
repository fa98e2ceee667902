-- table: gmail.messages
-- catches: content of a message that no state sync has seen.
-- do: run `mail-ingest sync ADDRESS --mode full`, which lists every message anew; the tables leave such mail out until then.
-- severity: error
-- blocking: yes
select
    messages.account_id,
    messages.message_id
from gmail.messages as messages
left join gmail.message_states as states
    on messages.account_id = states.account_id
    and messages.message_id = states.message_id
where states.message_id is null
