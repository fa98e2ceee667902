-- table: mail.thread_responses
-- catches: replies where mail.messages lacks the reply or the message that it answers.
-- do: materialize the analyst tables with `rebuild`.
-- severity: error
select
    responses.account_id,
    responses.message_id
from mail.thread_responses as responses
left join mail.messages as messages
    on responses.account_id = messages.account_id
    and responses.message_id = messages.message_id
    and messages.has_content
left join mail.messages as answered
    on responses.account_id = answered.account_id
    and responses.to_message_id = answered.message_id
    and answered.has_content
where messages.message_id is null
    or answered.message_id is null
