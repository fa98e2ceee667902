-- table: mail.message_lifecycle
-- catches: messages read, archived or starred before they arrived, as mail that is dated in the future seems to be; so it warns.
-- do: leave messages with the defect internal-date-in-the-future out of averages; without it, set the clock of the machine that syncs.
-- severity: warn
select
    account_id,
    message_id
from mail.message_lifecycle
where seconds_to_read < 0
    or seconds_to_archive < 0
    or seconds_to_star < 0
