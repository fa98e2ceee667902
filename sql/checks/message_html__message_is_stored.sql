-- table: gmail.message_html
-- catches: HTML of a message whose content is not stored.
-- do: run `mail-ingest sync`, which takes back rows that landed without their message; if some stay, delete them.
-- severity: error
select
    html.account_id,
    html.message_id
from gmail.message_html as html
left join gmail.messages as messages
    on html.account_id = messages.account_id
    and html.message_id = messages.message_id
where messages.message_id is null
