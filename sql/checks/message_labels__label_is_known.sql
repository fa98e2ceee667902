-- table: mail.message_labels
-- catches: a label on a live message that the mailbox's list of labels never named; Gmail has such, so it warns.
-- do: nothing, if Gmail's own interface shows no such label either; otherwise `mail-ingest sync ADDRESS --mode full`.
-- severity: warn
select distinct
    account_id,
    label_id
from mail.message_labels
where label_name is null
    and not is_deleted
