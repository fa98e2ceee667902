-- table: mail.daily_mailbox
-- catches: days on which fewer than no messages were unread: more stretches of the label UNREAD ended than began.
-- do: materialize the analyst tables with `rebuild`; if it stays, report it with the account and the day.
-- severity: error
select
    account_id,
    day
from mail.daily_mailbox
where unread_count < 0
