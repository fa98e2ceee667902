"""Landing rows of many mailboxes, generated inside the warehouse: the same rows on both databases, for any number of them.

One mailbox holds 30 % of the messages, three hold 10 % each, and the others share the rest unevenly. Messages lie over six
years; what is in the first three was there when the account was first synced, what came later was observed by hourly syncs.
Threads have 1 to some 30 messages, 30 % of what was received is unread, a message has 1 to 5 addresses beside its author,
two label events on average and about 2 KB of text; the content of 1 % is still to be bought.
"""

from __future__ import annotations

from collections.abc import Sequence

from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.connection import Connection

#: Messages that one load package brings.
PACKAGE = 5_000
YEARS = (2020, 2021, 2022, 2023, 2024, 2025)
_START = "timestamp '2020-01-01 00:00:00'"
_START_MS = 1_577_836_800_000
_SPAN_MS = 6 * 365 * 86_400_000
#: Consecutive messages of a mailbox among which threads are dealt out.
_WINDOW = 240
_PASSAGES = 512
#: Messages whose rows are made at a time.
_SLICE = 50_000
_WORDS = (
    "about account after agenda also answer april attached before best budget call change client come confirm contract "
    "could customer date deadline delivery design details discuss draft end every file final first forward friday from "
    "further give good group have help hope however invoice issue items join know last later letter list look march "
    "meeting message minutes monday month need next note number office open order other over part payment people phone "
    "plan please price project question quick reach read regards release reply report request response review room "
    "schedule send service share should sign soon still support team thank that then there this thursday time today "
    "together tomorrow tuesday update until version visit want week when where which will with work would write year"
)


def account_sizes(messages: int, accounts: int) -> list[int]:
    """Messages of each account, the largest first."""
    shares = [0.3, 0.1, 0.1, 0.1][:accounts]
    small = [1 / number for number in range(2, accounts - len(shares) + 2)]
    shares += [(1 - sum(shares)) * share / sum(small) for share in small]
    sizes = [max(1, int(messages * share)) for share in shares]
    sizes[-1] += messages - sum(sizes)
    return sizes


def account_id(number: int) -> str:
    return f"mail{number:04d}@example.com"


def generate(connection: Connection, dialect: str, sizes: Sequence[int]) -> None:
    """Fills empty landing tables. Memory: a narrow row of every message, and the texts of 50,000."""
    execute = connection.execute
    execute("create temporary table generated_accounts (number bigint, account_id varchar, size bigint, before bigint)")
    for number, size in enumerate(sizes):
        execute(
            "insert into generated_accounts values (?, ?, ?, ?)",
            [number, account_id(number), size, sum(sizes[:number])],
        )
    execute(
        f"create table if not exists {DATASET}._dlt_loads (load_id varchar not null, schema_name varchar, "
        "status bigint not null, inserted_at timestamp with time zone not null, schema_version_hash varchar)"
    )
    for name, select in _GENERATED.items():
        execute(f"create temporary table {name} as {select}")
        if dialect == "postgres":
            execute(f"analyze {name}")
    for name, select in _ROWS_OF_ACCOUNTS.items():
        land(connection, dialect, name, select)
    for first in range(0, sum(sizes), _SLICE):
        execute("drop table if exists generated")
        execute(
            "create temporary table generated as select * from generated_messages "
            f"where load_place between {first} and {first + _SLICE - 1}"
        )
        for name, select in _ROWS.items():
            land(connection, dialect, name, select)
    execute(
        f"insert into {DATASET}._dlt_loads (load_id, schema_name, status, inserted_at) "
        f"select distinct _dlt_load_id, 'generated', 0, now() from {DATASET}.message_states"
    )
    for name in ("generated_accounts", *_GENERATED, "generated"):
        execute(f"drop table {name}")
    if dialect == "postgres":
        for table in LANDING_TABLES:
            # what autovacuum has done some minutes after a load
            execute(f"vacuum analyze {DATASET}.{table.name}")


def land(connection: Connection, dialect: str, table: str, select: str) -> None:
    """Inserts the rows of a select into a landing table, by the names of its columns; `label_ids` is text in it."""
    columns = [row[0] for row in (connection.execute(f"select * from ({select}) as rows limit 0").description or ())]
    json = "jsonb" if dialect == "postgres" else "json"
    values = [f"cast({column} as {json})" if column == "label_ids" else column for column in columns]
    connection.execute(
        f"insert into {DATASET}.{table} ({', '.join(columns)}) select {', '.join(values)} from ({select}) as rows"
    )


def draw(seed: str, stream: int) -> str:
    """SQL of a number from 0 to 2^20 - 1 that looks random, by integers that both databases calculate alike."""
    mixed = f"((({seed}) * 2654435761 + {stream * 1_640_531_527}) & 2147483647)"
    return f"((({mixed} * {mixed}) >> 21) & 1048575)"


def _share(seed: str, stream: int) -> str:
    """SQL of a number from 0 to 1."""
    return f"(cast({draw(seed, stream)} as double precision) / 1048576)"


def _moment(milliseconds: str) -> str:
    # whole seconds: DuckDB multiplies intervals by 32 bits
    seconds = f"cast(floor(cast({milliseconds} as double precision) / 1000) as integer)"
    return f"cast({_START} + {seconds} * interval '1 second' as timestamp with time zone)"


def _next_hour(moment: str) -> str:
    """SQL of the hourly sync that observes what happened at a moment."""
    return f"date_trunc('hour', {moment}) + interval '65 minutes'"


def load_id(number: str) -> str:
    """SQL of the name of a load package."""
    return f"'17' || lpad(cast({number} as varchar), 8, '0') || '.5'"


_WORD = f"cast(1 + {draw('passage * 97 + place', 1)} % {len(_WORDS.split())} as integer)"
# every landing table's rows follow from these, which are made in this order
_GENERATED = {
    "generated_passages": f"""
        select passage, string_agg(word, ' ' order by place) as text
        from (
            select passage, place, split_part('{_WORDS}', ' ', {_WORD}) as word
            from (
                select cast(passage as bigint) as passage from generate_series(0, {_PASSAGES - 1}) as series(passage)
            ) as passages
            cross join (
                select cast(place as bigint) as place from generate_series(1, 96) as series(place)
            ) as places
        ) as words
        group by passage
    """,
    "generated_places": f"""
        select
            number, account_id, size, place, before + place as n,
            cast(floor((place + {_share("before + place", 2)}) * {_SPAN_MS} / size) as bigint) as ms,
            place * 2 >= size as is_new,
            number * 10000000 + cast(floor(place / {_WINDOW}.0) as bigint) * 100
                + cast(floor(100 * {_share("before + place", 3)} * {_share("before + place", 3)}) as bigint) as thread
        from generated_accounts
        inner join (
            select cast(place as bigint) as place
            from generate_series(0, (select max(size) from generated_accounts)) as series(place)
        ) as places
            on places.place < generated_accounts.size
    """,
    "generated_messages": f"""
        select
            *,
            min(message_id) over (partition by thread) as thread_id,
            (row_number() over (
                order by is_new, case when is_new then 0 else number end, case when is_new then ms else -ms end, n
            ) - 1) as load_place,
            case when is_new then {_next_hour(_moment("ms"))} else cast({_START} as timestamp with time zone)
                + (3 * 365 + number % 7) * interval '1 day' end as first_seen_at
        from (
            select
                *,
                {_moment("ms")} as internal_date,
                lpad(lower(to_hex((ms + {_START_MS}) * 1048576 + {draw("n", 4)})), 16, '0') as message_id,
                {draw("n", 5)} % 100 < 22 as is_sent,
                {draw("n", 6)} % 100 < 30 as is_unread,
                {draw("n", 7)} % 100 < 55 as is_archived,
                {draw("n", 8)} % 100 < 1 as is_deleted,
                {draw("n", 9)} % 100 < 99 as has_content,
                cast(floor((8 + size / 25.0) * {_share("thread", 10)} * {_share("thread", 10)}) as bigint) as contact
            from generated_places
        ) as dealt
        order by load_place
    """,
}

_LABELS = f"""'["' || concat_ws(
    '","',
    case when not is_sent then case {draw("thread", 11)} % 5
        when 0 then 'CATEGORY_UPDATES' when 1 then 'CATEGORY_PROMOTIONS' else 'CATEGORY_PERSONAL' end end,
    case when {draw("n", 12)} % 100 < 20 then 'IMPORTANT' end,
    case when not is_sent and (is_unread or not is_archived) then 'INBOX' end,
    case when {draw("thread", 13)} % 100 < 30 then 'Label_' || cast({draw("thread", 14)} % 20 as varchar) end,
    case when is_sent then 'SENT' end,
    case when {draw("n", 15)} % 100 < 4 then 'STARRED' end,
    case when not is_sent and is_unread then 'UNREAD' end
) || '"]'"""
_STATE_LOAD = load_id("cast(floor(load_place / 5000.0) as bigint) * 2")
_CONTENT_LOAD = load_id("cast(floor(load_place / 5000.0) as bigint) * 2 + 1")
_LATER_MS = f"ms + {draw('n', 16)} * 200"
_READ_AT = (
    f"case when is_new then {_next_hour(_moment(_LATER_MS))} "
    f"else first_seen_at + {draw('n', 17)} % 700 * interval '1 day' end"
)
_GONE_AT = f"first_seen_at + (30 + {draw('n', 18)} % 300) * interval '1 day'"
#: Events of a message: which, of which label, what happened, and when it was observed.
_EVENTS = (
    ("is_new", "", "added", "first_seen_at"),
    ("is_new and is_sent", "SENT", "added", "first_seen_at"),
    ("is_new and not is_sent", "INBOX", "added", "first_seen_at"),
    ("is_new and not is_sent", "UNREAD", "added", "first_seen_at"),
    (f"not is_sent and not is_unread and (is_new or {draw('n', 19)} % 100 < 40)", "UNREAD", "removed", _READ_AT),
    ("is_new and not is_sent and not is_unread and is_archived", "INBOX", "removed", f"{_READ_AT} + interval '1 day'"),
    ("is_deleted", "", "removed", _GONE_AT),
)
_BODY = " || ' ' || ".join(f"p{number}.text" for number in range(6))
_PERSON = "'person' || cast({0} as varchar) || '@company' || cast({0} % 89 as varchar) || '.example'"
_CONTACT = _PERSON.format("contact")
_NAME = "'Person ' || cast({0} as varchar)"


_PASSAGES_OF_A_BODY = " ".join(
    f"inner join generated_passages as p{number} on p{number}.passage = {draw('n', 40 + number)} % {_PASSAGES}"
    for number in range(6)
)


def _all_events() -> str:
    return " union all ".join(
        f"""
        select account_id, n * 8 + {number} as history_id, message_id, '{label}' as label_id, '{action}' as action,
            {moment} - interval '1 hour' as observed_after, {moment} as observed_at, 'history' as source,
            {_STATE_LOAD} as _dlt_load_id
        from generated where {condition}
        """
        for number, (condition, label, action, moment) in enumerate(_EVENTS)
    )


def _recipient(kind: str, position: int, who: str, name: str, condition: str) -> str:
    return f"""
        select account_id, message_id, '{kind}' as kind, {position} as position, {name} as name, {who} as address,
            '' as group_name, {_CONTENT_LOAD} as _dlt_load_id
        from generated where has_content and ({condition})
    """


def _copies() -> list[str]:
    """Up to four more addressees, fewer of them the more there are."""
    parts = []
    for position, share in enumerate((45, 25, 12, 6)):
        other = f"(contact + {draw('thread', 30 + position)} % 40)"
        condition = f"{draw('n', 29)} % 100 < {share}"
        parts.append(_recipient("cc", position, _PERSON.format(other), _NAME.format(other), condition))
    return parts


_ROWS_OF_ACCOUNTS = {
    "accounts": """
        select account_id, size as messages_total, 'active' as status from generated_accounts
    """,
    "labels": f"""
        select account_id, name as label_id, name, 'system' as type, {load_id("0")} as _dlt_load_id
        from generated_accounts
        cross join (
            select unnest(string_to_array(
                'CATEGORY_UPDATES CATEGORY_PROMOTIONS CATEGORY_PERSONAL IMPORTANT INBOX SENT STARRED UNREAD TRASH SPAM', ' '
            )) as name
        ) as names

        union all

        select account_id, 'Label_' || cast(label as varchar), 'Project ' || cast(label as varchar), 'user', {load_id("0")}
        from generated_accounts
        cross join generate_series(0, 19) as series(label)
    """,
}
_ROWS = {
    "message_states": f"""
        select account_id, message_id, thread_id, {_LABELS} as label_ids, n * 8 as history_id, is_deleted,
            case when is_deleted then {_GONE_AT} end as deleted_at, first_seen_at,
            case when is_deleted then {_GONE_AT} else first_seen_at end as changed_at, {_STATE_LOAD} as _dlt_load_id
        from generated order by load_place
    """,
    "label_events": f"select * from ({_all_events()}) as events order by _dlt_load_id, history_id",
    "messages": f"""
        select account_id, message_id, thread_id, internal_date, internal_date as date_header_at,
            case when ms % 3 = 0 then '' else 'Re: ' end || left(subjects.text, 40) as subject,
            case when is_sent then account_id else {_CONTACT} end as from_address,
            case when is_sent then '' else {_NAME.format("contact")} end as from_name,
            '<' || message_id || '@mail.example.com>' as rfc822_message_id,
            left(p0.text, 150) as snippet,
            left(
                {_BODY}, cast(200 + 5400 * {_share("n", 27)} * {_share("n", 28)} + {draw("n", 26)} % 1200 as integer)
            ) as body_text,
            'plain' as body_text_source, not is_sent as has_html, 8000 + {draw("n", 25)} % 60000 as size_bytes,
            case when {draw("n", 24)} % 100 < 10 then 1 else 0 end as attachment_count,
            'spf=pass smtp.mailfrom=company.example; dkim=pass header.d=company.example' as authentication_results,
            1 as parser_version, 'api' as source, first_seen_at as fetched_at,
            md5(message_id) || md5(account_id || message_id) as sha256,
            'packs/' || {_CONTENT_LOAD} || '.parquet' as raw_pack, {_CONTENT_LOAD} as _dlt_load_id
        from generated
        inner join generated_passages as subjects on subjects.passage = {draw("thread", 20)} % 512
        {_PASSAGES_OF_A_BODY}
        where has_content
        order by load_place
    """,
    "message_recipients": " union all ".join(
        [
            _recipient("from", 0, _CONTACT, _NAME.format("contact"), "not is_sent"),
            _recipient("from", 0, "account_id", "''", "is_sent"),
            _recipient("to", 0, "account_id", "''", "not is_sent"),
            _recipient("to", 0, _CONTACT, _NAME.format("contact"), "is_sent"),
            *_copies(),
        ]
    )
    + " order by _dlt_load_id, message_id",
    "attachments": f"""
        select account_id, message_id, '1' as part_id, 'report.pdf' as file_name, 'application/pdf' as content_type,
            'attachment' as disposition, '' as content_id, false as is_inline, 50000 + n % 90000 as size_bytes,
            md5(message_id) || md5(message_id || 'pdf') as sha256, {_CONTENT_LOAD} as _dlt_load_id
        from generated where has_content and {draw("n", 24)} % 100 < 10
        order by load_place
    """,
}
