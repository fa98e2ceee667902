"""Loads of changes on top of generated mailboxes, as syncs bring them: rows replace those of the same key, under new load ids.

Of 1,000 changes 650 are labels that came or went, 250 are new messages with their content, half of them in threads that are
there, and 100 are deletions. They fall on messages drawn from all accounts, old and new alike, or from one account alone.
"""

from __future__ import annotations

from benchmarks.mailboxes import land
from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.connection import Connection

_KEYS = {table.name: table.key for table in LANDING_TABLES}


def load_changes(connection: Connection, dialect: str, number: int, count: int, account_id: str = "") -> None:
    """The load with this number, of `count` changes; of one account, or of all."""
    execute = connection.execute
    execute("drop table if exists drawn")
    execute(
        f"""
        create temporary table drawn as
        select *, row_number() over (order by account_id, message_id) as place
        from (
            select account_id, message_id, thread_id, replace(cast(label_ids as varchar), '", "', '","') as labels,
                first_seen_at
            from {DATASET}.message_states
            where not is_deleted and account_id = {f"'{account_id}'" if account_id else "account_id"}
            order by md5(message_id || '{number}')
            limit {count}
        ) as sampled
        """
    )
    execute("drop table if exists changes")
    execute(f"create temporary table changes as {_changes(number)}")
    for kind, tables in (("states", _STATES), ("contents", _CONTENTS)):
        load_id = f"18{number:08d}.{len(kind)}"
        for table, select in tables.items():
            execute("drop table if exists staged")
            execute(f"create temporary table staged as select *, '{load_id}' as _dlt_load_id from ({select}) as rows")
            key = ", ".join(_KEYS[table])
            execute(f"delete from {DATASET}.{table} where ({key}) in (select {key} from staged)")
            land(connection, dialect, table, "select * from staged")
        execute(
            f"insert into {DATASET}._dlt_loads (load_id, schema_name, status, inserted_at) values (?, ?, 0, now())",
            [load_id, kind],
        )


def _without(label: str) -> str:
    return f"""replace(replace(replace(labels, '"{label}",', ''), ',"{label}"', ''), '"{label}"', '')"""


def _changes(number: int) -> str:
    """What becomes of each message that was drawn; a drawn message may lend its thread to a new one."""
    milliseconds = f"({1_767_225_600_000 + number * 3_600_000} + place)"
    new_id = f"lpad(lower(to_hex({milliseconds} * 1048576)), 16, '0')"
    return f"""
        select
            account_id,
            case when kind = 'new' then {new_id} else message_id end as message_id,
            case when kind = 'new' and place % 2 = 0 then {new_id} else thread_id end as thread_id,
            kind,
            label,
            action,
            case
                when kind = 'new' then '["CATEGORY_PERSONAL","INBOX","UNREAD"]'
                when action = 'added' then replace(substr(labels, 1, length(labels) - 1) || ',"UNREAD"]', '[,', '[')
                when label = 'UNREAD' then {_without("UNREAD")}
                when label = 'INBOX' then {_without("INBOX")}
                else labels
            end as labels,
            case when kind = 'new' then observed_at else first_seen_at end as first_seen_at,
            observed_at,
            {number * 1_000_000_000} + place * 8 as history_id,
            place
        from (
            select
                *,
                case when place % 20 < 2 then 'gone' when place % 20 < 7 then 'new' else 'labelled' end as kind,
                case
                    when place % 20 < 7 then ''
                    when labels like '%"UNREAD"%' or labels not like '%"INBOX"%' then 'UNREAD'
                    else 'INBOX'
                end as label,
                case
                    when place % 20 between 2 and 6 or (labels not like '%"UNREAD"%' and labels not like '%"INBOX"%')
                        then 'added'
                    else 'removed'
                end as action,
                timestamp with time zone '2026-01-01 00:05:00+00' + {number} * interval '1 hour' as observed_at
            from drawn
        ) as decided
    """


_STATES = {
    "label_events": """
        select account_id, history_id + number as history_id, message_id,
            case when number = 0 then label when number = 1 then 'INBOX' else 'UNREAD' end as label_id,
            action, observed_at - interval '1 hour' as observed_after, observed_at, 'history' as source
        from changes
        cross join (select 0 as number union all select 1 union all select 2) as numbers
        where number = 0 or kind = 'new'
    """,
    "message_states": """
        select account_id, message_id, thread_id, labels as label_ids, history_id, kind = 'gone' as is_deleted,
            case when kind = 'gone' then observed_at end as deleted_at, first_seen_at, observed_at as changed_at
        from changes
    """,
}
_CONTENTS = {
    "messages": """
        select account_id, message_id, thread_id, observed_at - interval '10 minutes' as internal_date,
            'Re: what is new' as subject, 'person' || cast(place % 50 as varchar) || '@company.example' as from_address,
            'Person' as from_name, repeat('What is new is told here. ', 80) as body_text, 9000 as size_bytes,
            0 as attachment_count, observed_at as fetched_at
        from changes where kind = 'new'
    """,
    "message_recipients": """
        select account_id, message_id, kind, 0 as position, '' as name, '' as group_name,
            case when kind = 'to' then account_id else 'person' || cast(place % 50 as varchar) || '@company.example' end
                as address
        from (
            select account_id, message_id, place, header.kind
            from changes
            cross join (select 'from' as kind union all select 'to') as header
            where changes.kind = 'new'
        ) as addressed
    """,
}
