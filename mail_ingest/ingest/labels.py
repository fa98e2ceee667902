"""What changed among an account's labels, and what that means for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import orjson

from mail_ingest.gmail import Label
from mail_ingest.gmail.changes import StateChange
from mail_ingest.warehouse.queries import StoredLabel


def labels_digest(labels: list[Label]) -> str:
    """A digest that changes when any label comes, goes, or is renamed, hidden or coloured."""
    identities = sorted(identity(label) for label in labels)
    return hashlib.sha256(orjson.dumps(identities)).hexdigest()[:16]


def identity(label: Label) -> tuple[str, ...]:
    return (
        label.label_id,
        label.name,
        label.type or "",
        label.message_list_visibility or "",
        label.label_list_visibility or "",
        label.text_color or "",
        label.background_color or "",
    )


def with_counts(label: Label, counted: Label) -> Label:
    return replace(
        label,
        messages_total=counted.messages_total,
        messages_unread=counted.messages_unread,
        threads_total=counted.threads_total,
        threads_unread=counted.threads_unread,
    )


def vanished_labels(
    labels: list[Label], known: Mapping[str, StoredLabel], observed_at: datetime | None = None
) -> list[str]:
    """Labels that were there at the last sync, which was at `observed_at`, and are not now.

    A later sync that died may have landed their end already, and not what it means for messages.
    """
    listed = {label.label_id for label in labels}

    def was_there(stored: StoredLabel) -> bool:
        return stored.deleted_at is None or (observed_at is not None and stored.deleted_at > observed_at)

    return [label_id for label_id, stored in known.items() if was_there(stored) and label_id not in listed]


def gone_labels(labels: list[Label], known: Mapping[str, StoredLabel]) -> frozenset[str]:
    """Every label that once stood in the list of labels and does not now: no live message carries one."""
    listed = {label.label_id for label in labels}
    return frozenset(label_id for label_id in known if label_id not in listed)


def without(change: StateChange, gone: frozenset[str]) -> StateChange:
    if change.is_deleted or not change.label_ids & gone:
        return change
    return replace(change, label_ids=change.label_ids - gone)
