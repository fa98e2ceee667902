-- table: gmail.label_events
-- catches: a change counted twice.
-- severity: error
select
    account_id,
    history_id,
    message_id,
    label_id,
    action
from gmail.label_events
group by account_id, history_id, message_id, label_id, action
having count(*) > 1
