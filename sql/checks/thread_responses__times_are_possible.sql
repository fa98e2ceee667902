-- table: mail.thread_responses
-- catches: replies that came before what they answer, and more business hours than hours.
-- do: materialize the analyst tables with `rebuild`; if it stays, report it with the message.
-- severity: error
select
    account_id,
    message_id
from mail.thread_responses
where response_seconds < 0
    or business_seconds < 0
    or business_seconds > response_seconds
