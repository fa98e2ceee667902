-- table: mail.label_intervals
-- catches: stretches of labels on a message that mail.messages does not have.
-- do: materialize the analyst tables with `rebuild`.
-- severity: error
select
    intervals.account_id,
    intervals.message_id,
    intervals.label_id,
    intervals.number
from mail.label_intervals as intervals
left join mail.messages as messages
    on intervals.account_id = messages.account_id
    and intervals.message_id = messages.message_id
where messages.message_id is null
