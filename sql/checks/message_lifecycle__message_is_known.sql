-- table: mail.message_lifecycle
-- catches: lifecycles of a message that mail.messages does not have, or has without content.
-- do: materialize the analyst tables with `rebuild`.
-- severity: error
select
    lifecycles.account_id,
    lifecycles.message_id
from mail.message_lifecycle as lifecycles
left join mail.messages as messages
    on lifecycles.account_id = messages.account_id
    and lifecycles.message_id = messages.message_id
    and messages.has_content
where messages.message_id is null
