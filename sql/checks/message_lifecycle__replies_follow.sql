-- table: mail.message_lifecycle
-- catches: replies that the owner sent before the message arrived; both times are Gmail's.
-- do: materialize the analyst tables with `rebuild`; if it stays, report it with the message.
-- severity: error
select
    account_id,
    message_id
from mail.message_lifecycle
where seconds_to_reply < 0
