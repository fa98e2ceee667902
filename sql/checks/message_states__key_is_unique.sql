-- table: gmail.message_states
-- catches: a message with two states, as a load that ran twice would leave it.
-- severity: error
select
    account_id,
    message_id
from gmail.message_states
group by account_id, message_id
having count(*) > 1
