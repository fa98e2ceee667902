-- table: gmail.messages
-- catches: content stored twice.
-- severity: error
select
    account_id,
    message_id
from gmail.messages
group by account_id, message_id
having count(*) > 1
