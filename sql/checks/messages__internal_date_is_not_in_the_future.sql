-- table: gmail.messages
-- catches: messages that arrived more than a day from now, as imported mail may claim; so it warns.
-- do: leave them out of counts by day; they carry the defect internal-date-in-the-future.
-- severity: warn
select
    account_id,
    message_id
from gmail.messages
where internal_date > now() + interval '1 day'
