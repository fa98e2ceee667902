"""The landing tables: columns, types, keys and what they mean, decided once.

dlt hints, Arrow batches, warehouse comments, Dagster's column schema and the README's table list are all made from
these definitions. `account_id` (the lower-cased address that `getProfile` returns) is first in every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

DATASET = "gmail"

Guard = Literal["latest", "monotonic", "absent"]
_TIME = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "time": _TIME,
    "float": pa.float64(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind` is text, json (JSON as text), int (64 bits), bool, float or time (UTC, microseconds)."""

    name: str
    kind: str
    description: str

    @property
    def arrow_type(self) -> pa.DataType:
        return _TYPES[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """A landing table.

    `guard` says which row stays when a key is loaded again: `latest` the newly loaded one, `monotonic` the one with
    the higher history_id, `absent` the one that is there already, unless it lacks the column `refined_by` and the new
    one has it.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    guard: Guard = "latest"
    refined_by: str | None = None

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.name not in self.key) for c in self.columns])


def _columns(text: str) -> tuple[Column, ...]:
    columns = []
    for line in text.strip().splitlines():
        name, kind, description = line.strip().split(maxsplit=2)
        columns.append(Column(name, kind, description))
    return tuple(columns)


ACCOUNTS = Table(
    "accounts",
    "One row per account: the profile's totals and a copy of the cursor for people to read.",
    ("account_id",),
    _columns("""
        account_id text Lower-cased address of the mailbox, as Gmail's profile returns it.
        messages_total int Messages in the mailbox by Gmail's profile, spam and trash included; null where it tells none.
        threads_total int Threads in the mailbox by Gmail's profile; null where it tells none.
        cursor_history_id int Copy of the sync cursor. The authority is the pipeline's own state.
        last_full_sync_at time When ids and labels were last swept.
        last_synced_at time When a state sync last landed changes.
        status text State of the account, as of the last sync of any: active, paused, needs_reauth, parked, cooling_down, removed.
        account_group text Group of the account (a team, a customer, a person), as of the same moment; null without one.
        privacy text Privacy tier of the account, as of the same moment: full, redacted, headers or hashed.
        is_pushed bool Whether Gmail is to publish the account's changes, as of the same moment; null before it is known.
        watch_expires_at time Until when Gmail publishes them, as of the same moment; null where it was never asked to.
        last_notified_at time When the account's last notification was taken in, as of the same moment; null without one.
    """),
)

LABELS = Table(
    "labels",
    "One row per label that the mailbox has or had.",
    ("account_id", "label_id"),
    _columns("""
        account_id text Account that owns the label.
        label_id text Gmail's id of the label; it outlives renames.
        name text Display name. System labels are named like their id; user labels nest by slashes.
        type text system or user; null where Gmail gives none.
        message_list_visibility text show or hide; null where Gmail gives none.
        label_list_visibility text labelShow, labelShowIfUnread or labelHide; null where Gmail gives none.
        text_color text Text colour as a hex value, for coloured labels.
        background_color text Background colour as a hex value, for coloured labels.
        messages_total int Messages with the label, by labels.get at counts_at.
        messages_unread int Unread messages with the label, at counts_at.
        threads_total int Threads with the label, at counts_at.
        threads_unread int Unread threads with the label, at counts_at.
        counts_at time When the four counts were read; they are read in full syncs.
        deleted_at time When the label was first missing from the mailbox; null while it exists.
    """),
)

MESSAGE_STATES = Table(
    "message_states",
    "One row per message ever seen, with its present labels. Written by state syncs alone.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message; unique within the account, never reused.
        thread_id text Gmail's id of the thread.
        label_ids json Sorted JSON array of label ids; for a deleted message those it had when last seen.
        history_id int History record that last changed the row, or the record a sweep was pinned to.
        is_deleted bool Whether the message is gone for good. Trash is a label, not a deletion.
        deleted_at time When the deletion was observed.
        first_seen_at time When a sync first saw the message.
        changed_at time When a sync last changed this row.
    """),
    guard="monotonic",
)

LABEL_EVENTS = Table(
    "label_events",
    "One row per label change seen; a message added or deleted counts as a change with an empty label_id.",
    ("account_id", "history_id", "message_id", "label_id", "action"),
    _columns("""
        account_id text Account that holds the message.
        history_id int History record of the change; for source sweep the record the sweep was pinned to.
        message_id text Message that changed.
        label_id text Label added or removed; the empty string where the message itself was added or deleted.
        action text added or removed.
        observed_after time The change happened after this moment (the observation before); null when nothing was observed before.
        observed_at time The change happened before this moment (the observation that found it).
        source text history, or sweep for a difference that a sweep found after history had expired.
    """),
    guard="absent",
)

SYNC_RUNS = Table(
    "sync_runs",
    "One row per sync of one account that changed or failed something.",
    ("account_id", "run_id"),
    _columns("""
        account_id text Account that was synced.
        run_id text Id of the sync.
        kind text full, partial or content: what the sync read.
        triggered_by text person, schedule, push, backfill, and so on.
        started_at time When the sync of this account began.
        finished_at time When this row was written; the last package of a sync updates it.
        outcome text success, partial (limits reached or work deferred), failed or cancelled.
        error_class text Class of the error that ended the sync; null without one.
        states_changed int Rows of message_states that the sync wrote.
        messages_added int Messages first seen by this sync.
        messages_deleted int Messages found deleted by this sync.
        label_changes int Label events landed by this sync.
        contents_stored int Messages whose content this sync stored.
        contents_failed int Messages whose content could not be fetched.
        backlog int Messages in scope still without content at the end.
        units int Gmail quota units spent.
        calls int Requests sent to Gmail.
        refusals int Requests that Gmail refused for quota or concurrency.
        bytes_received int Bytes of the answers, as received.
        waited_s float Seconds spent waiting for quota.
        units_by_method json JSON object: method to units.
        calls_by_method json JSON object: method to calls.
        contents_left_out int Messages of which the account's privacy lets nothing be stored, that this sync came upon.
        unexpected_fields json JSON array of fields in Gmail's answers that were not expected, with their kinds; null without any.
    """),
)

MESSAGES = Table(
    "messages",
    "One row per message whose content is stored.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        thread_id text Gmail's id of the thread when the content was fetched.
        internal_date time When Gmail accepted the message; more reliable than the Date header.
        date_header_at time The Date header, parsed; null where it is missing or cannot be read.
        subject text Subject, decoded.
        from_address text Address of the first author.
        from_name text Name of the first author.
        sender_address text Address in the Sender header.
        reply_to_address text First address in Reply-To.
        rfc822_message_id text Message-ID header, with its angle brackets.
        in_reply_to text In-Reply-To header.
        reference_ids json JSON array of the ids in References, oldest first.
        snippet text Gmail's short preview, HTML entities decoded.
        body_text text Text body; made from the HTML where the message has no text part.
        body_text_source text plain, html or null: where body_text came from.
        has_html bool Whether the message has an HTML body (kept in the raw archive, or in message_html).
        size_bytes int Size of the raw message.
        attachment_count int Attachments, inline images included.
        importance text Importance or X-Priority header.
        list_id text List-Id header.
        list_unsubscribe text List-Unsubscribe header.
        precedence text Precedence header.
        auto_submitted text Auto-Submitted header.
        return_path text Return-Path header.
        delivered_to text Delivered-To header.
        authentication_results text Authentication-Results header.
        headers json JSON array of [name, value] of every header in order; null unless asked for.
        charsets json JSON array of the charsets that the message declares.
        defects json JSON array of what is wrong with the message, in stable words.
        parser_version int Version of the parser that made these columns; 0 where none could read the message.
        source text api or takeout: where the bytes came from.
        fetched_at time When the content was stored.
        sha256 text SHA-256 of the raw bytes, hex.
        raw_pack text Pack in the raw archive that holds the bytes; null when the archive is off.
        privacy text Privacy tier in whose form it is stored, or two joined by +; null, from before there were tiers, is full.
    """),
    guard="absent",
)

MESSAGE_HTML = Table(
    "message_html",
    "One row per message with an HTML body, when HTML is kept in the warehouse.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        body_html text HTML body as sent. Untrusted: never show it without sanitizing.
    """),
    guard="absent",
)

MESSAGE_RECIPIENTS = Table(
    "message_recipients",
    "One row per address in an address header.",
    ("account_id", "message_id", "kind", "position"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        kind text from, sender, reply_to, to, cc or bcc.
        position int Place in the header, from 0.
        name text Display name, decoded; empty without one.
        address text Address as written.
        group_name text Name of the address group it stands in; empty outside groups.
    """),
    guard="absent",
)

ATTACHMENTS = Table(
    "attachments",
    "One row per attachment, inline images and attached messages included.",
    ("account_id", "message_id", "part_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        part_id text Gmail's path of the part, such as 1 or 0.2.
        file_name text File name, decoded; untrusted, may hold path separators.
        content_type text Declared type, lower case.
        disposition text attachment, inline or empty.
        content_id text Content-ID without angle brackets; empty without one.
        is_inline bool Whether the part is shown inside the body.
        size_bytes int Decoded size.
        sha256 text SHA-256 of the decoded bytes, hex.
        in_part_id text part_id of the attached message that holds this part; null at the message's own level.
        message_subject text Subject of an attached message; null for other attachments.
    """),
    guard="absent",
)

MESSAGE_MONTHS = Table(
    "message_months",
    "One row per message found by listing a month or day, so that its backlog is known before its content.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        month text Month of the internal date in UTC, such as 2026-05; as the listing told it, until the content tells.
        day text Day of the internal date in UTC, such as 2026-05-03; null where only its month was listed.
    """),
    guard="absent",
    refined_by="day",
)

FETCH_FAILURES = Table(
    "fetch_failures",
    "One row per message that could not be fetched or parsed, kept with resolved_at once its content is stored after all.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        attempts int Fetches tried so far; each of them is several requests.
        error_class text Class of the last error; ParseError where the bytes came and no parser could read them.
        first_failed_at time When a fetch first failed.
        last_failed_at time When a fetch last failed.
        next_try_at time Not tried again before this moment; null where only another parser can help (see reparse).
        resolved_at time When the content was stored after all; null while it is missing.
        reason text Gmail's own word for the last failure, such as backendError, or the exception that ended the parser.
        parked_at time When the message became a dead letter, which is tried once a week; null before.
    """),
)

LEFT_OUT_MESSAGES = Table(
    "left_out_messages",
    "One row per message of which nothing is stored on purpose, so that it is not bought again.",
    ("account_id", "message_id"),
    _columns("""
        account_id text Account that holds the message.
        message_id text Gmail's id of the message.
        reason text Why: sign-in code or password reset, by the account's privacy; erased (an erased person wrote it); retention.
        left_out_at time When it was bought, or taken out of what was stored.
    """),
)

STATE_TABLES = (ACCOUNTS, LABELS, MESSAGE_STATES, LABEL_EVENTS, SYNC_RUNS)
CONTENT_TABLES = (
    MESSAGES,
    MESSAGE_HTML,
    MESSAGE_RECIPIENTS,
    ATTACHMENTS,
    MESSAGE_MONTHS,
    FETCH_FAILURES,
    LEFT_OUT_MESSAGES,
    SYNC_RUNS,
)
#: Rows that belong to a row of `messages` and come with it.
MESSAGE_PARTS = (MESSAGE_HTML, MESSAGE_RECIPIENTS, ATTACHMENTS)
LANDING_TABLES = (*STATE_TABLES, *(table for table in CONTENT_TABLES if table is not SYNC_RUNS))
