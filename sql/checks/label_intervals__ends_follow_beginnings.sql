-- table: mail.label_intervals
-- catches: stretches that end before they begin, and bounds of an end that are the wrong way round.
-- do: see whether gmail.label_events is in order; if it is, materialize the analyst tables with `rebuild`.
-- severity: error
select
    account_id,
    message_id,
    label_id,
    number
from mail.label_intervals
where ended_at < started_at
    or started_after > started_at
    or ended_after > ended_at
