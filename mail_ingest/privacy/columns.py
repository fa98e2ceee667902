"""What each tier means for every column of every landing table: the treatment of its values.

A column that is missing here fails the tests. `full` keeps everything. The page docs/privacy.md has the same as a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mail_ingest.privacy.policy import Tier

Treatment = Literal[
    "keep",
    "text",
    "texts",
    "snippet",
    "address",
    "identifier",
    "identifiers",
    "fingerprint",
    "extension",
    "verdicts",
    "schemes",
    "form",
    "drop",
    "empty",
]
"""keep: as it is · text: redacted, with addresses hashed in the tier `hashed` · texts: so the strings of a JSON list ·
snippet: text, without its end, where a number may be cut off · address: hashed, but for the account's own ·
identifier(s): hashed as a whole · fingerprint: hashed · extension: of a file name alone · verdicts: `spf=pass` and the
like alone · schemes: `mailto` and `https` alone · form: the form that the row has · drop: null · empty: the empty string,
in columns that have it for nothing"""

MEANINGS: Mapping[Treatment, str] = {
    "keep": "kept",
    "text": "redacted",
    "texts": "redacted",
    "snippet": "redacted",
    "address": "hashed",
    "identifier": "hashed",
    "identifiers": "hashed",
    "fingerprint": "hashed",
    "extension": "extension only",
    "verdicts": "verdicts only",
    "schemes": "schemes only",
    "form": "the form",
    "drop": "null",
    "empty": "empty",
}
"""What the page says of each."""


@dataclass(frozen=True, slots=True)
class Treatments:
    """One column's treatment in the three tiers that change anything."""

    redacted: Treatment
    headers: Treatment
    hashed: Treatment

    def under(self, tier: Tier) -> Treatment:
        match tier:
            case "redacted":
                return self.redacted
            case "headers":
                return self.headers
            case "hashed":
                return self.hashed
        return "keep"


_KEPT = "keep keep keep"
_PLAIN = dict.fromkeys(("account_id", "message_id"), _KEPT)
_TABLES: dict[str, dict[str, str]] = {
    "messages": {
        **_PLAIN,
        "thread_id": _KEPT,
        "internal_date": _KEPT,
        "date_header_at": _KEPT,
        "subject": "text keep text",
        "from_address": "keep keep address",
        "from_name": "keep keep drop",
        "sender_address": "keep keep address",
        "reply_to_address": "keep keep address",
        "rfc822_message_id": "keep keep identifier",
        "in_reply_to": "keep keep identifier",
        "reference_ids": "keep keep identifiers",
        "snippet": "snippet drop snippet",
        "body_text": "text drop text",
        "body_text_source": "keep drop keep",
        "has_html": "keep drop keep",
        "size_bytes": _KEPT,
        "attachment_count": "keep drop keep",
        "importance": "keep keep text",
        "list_id": "keep keep identifier",
        "list_unsubscribe": "keep keep schemes",
        "precedence": "keep keep text",
        "auto_submitted": "keep keep text",
        "return_path": "keep keep address",
        "delivered_to": "keep keep address",
        "authentication_results": "keep keep verdicts",
        "headers": "texts keep drop",
        "charsets": "texts drop texts",
        "defects": _KEPT,
        "parser_version": _KEPT,
        "source": _KEPT,
        "fetched_at": _KEPT,
        "sha256": "keep drop fingerprint",
        "raw_pack": "drop drop drop",
        "privacy": "form form form",
    },
    "message_recipients": {
        **_PLAIN,
        "kind": _KEPT,
        "position": _KEPT,
        "name": "keep keep empty",
        "address": "keep keep address",
        "group_name": "keep keep empty",
    },
    "attachments": {
        **_PLAIN,
        "part_id": _KEPT,
        "file_name": "text drop extension",
        "content_type": "text drop text",
        "disposition": _KEPT,
        "content_id": "text drop identifier",
        "is_inline": _KEPT,
        "size_bytes": _KEPT,
        "sha256": "keep drop fingerprint",
        "in_part_id": _KEPT,
        "message_subject": "text drop text",
    },
    "message_html": {**_PLAIN, "body_html": "drop drop drop"},
    "left_out_messages": {**_PLAIN, "reason": _KEPT, "left_out_at": _KEPT},
    "message_months": {**_PLAIN, "month": _KEPT, "day": _KEPT},
    "fetch_failures": {
        **_PLAIN,
        **dict.fromkeys(
            (
                "attempts",
                "error_class",
                "first_failed_at",
                "last_failed_at",
                "next_try_at",
                "resolved_at",
                "reason",
                "parked_at",
            ),
            _KEPT,
        ),
    },
    "message_states": {
        **_PLAIN,
        **dict.fromkeys(
            ("thread_id", "label_ids", "history_id", "is_deleted", "deleted_at", "first_seen_at", "changed_at"), _KEPT
        ),
    },
    "label_events": {
        **_PLAIN,
        **dict.fromkeys(("history_id", "label_id", "action", "observed_after", "observed_at", "source"), _KEPT),
    },
    "labels": {
        "account_id": _KEPT,
        "label_id": _KEPT,
        "name": "keep keep text",
        **dict.fromkeys(
            (
                "type",
                "message_list_visibility",
                "label_list_visibility",
                "text_color",
                "background_color",
                "messages_total",
                "messages_unread",
                "threads_total",
                "threads_unread",
                "counts_at",
                "deleted_at",
            ),
            _KEPT,
        ),
    },
    "accounts": dict.fromkeys(
        (
            "account_id",
            "messages_total",
            "threads_total",
            "cursor_history_id",
            "last_full_sync_at",
            "last_synced_at",
            "is_pushed",
            "watch_expires_at",
            "last_notified_at",
            "status",
            "account_group",
            "privacy",
        ),
        _KEPT,
    ),
    "sync_runs": dict.fromkeys(
        (
            "account_id",
            "run_id",
            "kind",
            "triggered_by",
            "started_at",
            "finished_at",
            "outcome",
            "error_class",
            "states_changed",
            "messages_added",
            "messages_deleted",
            "label_changes",
            "contents_stored",
            "contents_failed",
            "backlog",
            "units",
            "calls",
            "refusals",
            "bytes_received",
            "waited_s",
            "units_by_method",
            "calls_by_method",
            "unexpected_fields",
            "contents_left_out",
        ),
        _KEPT,
    ),
}

COLUMNS: Mapping[str, Mapping[str, Treatments]] = {
    table: {column: Treatments(*text.split()) for column, text in columns.items()}  # type: ignore[arg-type]
    for table, columns in _TABLES.items()
}

#: Tables of which a tier keeps no rows at all.
NO_ROWS: Mapping[Tier, frozenset[str]] = {
    "full": frozenset(),
    "redacted": frozenset({"message_html"}),
    "headers": frozenset({"message_html", "attachments"}),
    "hashed": frozenset({"message_html"}),
}
