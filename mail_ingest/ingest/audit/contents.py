"""`gmail.messages` against the raw archive, and both against Gmail: packs, hashes, and columns made again.

Every pack is opened, a sample of messages is read and parsed. None of that costs units; messages read at Gmail do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from mail_ingest import mime
from mail_ingest.errors import MessageGoneError, ServerError
from mail_ingest.gmail import GmailClient, RawMessage
from mail_ingest.ingest.audit.budget import Budget
from mail_ingest.ingest.audit.report import Audit
from mail_ingest.ingest.privacy import private_rows
from mail_ingest.privacy import Policy, PrivateRows, Tier, holds_too_much, without_hashes
from mail_ingest.sources.content import ContentRows, content_sha256
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_RECIPIENTS, MESSAGES, Column, Table
from mail_ingest.warehouse import auditing
from mail_ingest.warehouse.archive import DamagedPackError

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

_PACKS_AT_ONCE = 20
_MESSAGES_AT_ONCE = 10
_TABLES = (MESSAGES, MESSAGE_RECIPIENTS, ATTACHMENTS)
_TEXTS = ("subject", "snippet", "body_text", "message_subject")


def audit_contents(engine: Engine, audit: Audit, budget: Budget, sample: int, policy: Policy) -> None:
    """Counts duplicates and orphans, opens every pack, and reads `sample` messages out of them."""
    account_id, warehouse = audit.account_id, engine.warehouse
    audit.duplicates = auditing.duplicates(warehouse, account_id)
    audit.without_state = auditing.without_state(warehouse, account_id)
    audit.too_much = sum(
        count
        for (form, has_attachments), count in engine.queries.forms(account_id).items()
        if holds_too_much(form, policy, has_attachments=has_attachments)
    )
    packs = auditing.packs(warehouse, account_id)
    bare = packs.pop("", 0)
    if bare and policy.keeps_bytes:
        budget.left_out.append(f"bytes of {bare} messages that were stored without an archive")
    audit.packs = len(packs)
    if not engine.archive.enabled:
        if packs:
            budget.left_out.append("the raw archive: MAIL_INGEST_RAW is off")
        return
    lost = _lost_packs(engine, audit, packs)
    chosen = [
        row for row in auditing.sample(warehouse, account_id, sample) if row[1] is not None and row[1] not in lost
    ]
    for some in _batched(chosen, _MESSAGES_AT_ONCE):
        _compare(engine, audit, some, policy)


def audit_at_gmail(
    engine: Engine, client: GmailClient, audit: Audit, budget: Budget, sample: int, policy: Policy
) -> None:
    """Reads messages at Gmail again, 20 units each, and compares their hashes with the stored ones; of messages in the form
    of a stricter tier what their columns hold."""
    made_again = private_rows(policy)
    chosen = auditing.sample(engine.warehouse, audit.account_id, sample, is_live=True) if sample else []
    for position, (message_id, _, sha256, form) in enumerate(chosen):
        if not budget.reaches(f"{len(chosen) - position} of {len(chosen)} messages at Gmail", "messages.get"):
            return
        try:
            message = (client.get_raw_message if policy.keeps_bodies else client.get_header_message)(message_id)
        except MessageGoneError:
            continue  # deleted meanwhile: the states tell whether that is drift
        except ServerError:
            budget.left_out.append(f"message {message_id} at Gmail, which fails")
            continue
        audit.gmail_sampled += 1
        if policy.tier == "full":
            # what a stricter tier stored has another hash, or none
            audit.wrong_content += form.startswith("full") and content_sha256(message.raw) != sha256
        else:
            stored = {
                table.name: auditing.rows_of(engine.warehouse, table.name, audit.account_id, [message_id])[message_id]
                for table in _TABLES
            }
            audit.wrong_content += _is_altered(audit.account_id, message, stored, made_again)


def _lost_packs(engine: Engine, audit: Audit, packs: dict[str, int]) -> set[str]:
    """Packs that are missing or cannot be opened; counts the messages in them, and those that their pack does not hold."""
    lost: set[str] = set()
    present = set(engine.archive.packs(audit.account_id))
    for some in _batched(list(packs), _PACKS_AT_ONCE):
        stored = auditing.ids_by_pack(engine.warehouse, audit.account_id, some)
        engine.warehouse.let_go()
        for pack in some:
            try:
                held = set(engine.archive.message_ids(pack)) if pack in present else set()
            except (DamagedPackError, FileNotFoundError):
                held = set()
            absent = stored.get(pack, set()) - held
            audit.lost_bytes += len(absent)
            if absent and not held:
                lost.add(pack)
    audit.packs_lost = len(lost)
    return lost


def _compare(engine: Engine, audit: Audit, some: Sequence[tuple[str, str | None, str, str]], policy: Policy) -> None:
    ids = [message_id for message_id, *_ in some]
    stored = {table.name: auditing.rows_of(engine.warehouse, table.name, audit.account_id, ids) for table in _TABLES}
    engine.warehouse.let_go()
    for message_id, pack, sha256, _ in some:
        try:
            archived = engine.archive.read_message(pack or "", message_id)
        except (DamagedPackError, FileNotFoundError):
            archived = None
            audit.lost_bytes += 1
        if archived is None:
            continue  # counted, here or with its pack
        audit.archive_sampled += 1
        if not archived.is_intact:
            audit.lost_bytes += 1
        elif archived.sha256 != sha256 or _is_altered(
            audit.account_id,
            archived.message,
            {table.name: stored[table.name][message_id] for table in _TABLES},
            private_rows(policy),
        ):
            audit.wrong_content += 1


def _is_altered(
    account_id: str, message: RawMessage, stored: dict[str, list[dict[str, Any]]], private: PrivateRows
) -> bool:
    """Whether the rows differ from those that the present parser and privacy make; rows of another parser, or in another
    form, are not compared."""
    if len(stored[MESSAGES.name]) != 1:
        return False  # a duplicate, or gone since it was chosen
    row = stored[MESSAGES.name][0]
    if row["parser_version"] != mime.PARSER_VERSION:
        return False
    made: dict[str, list[dict[str, Any]]] = {table.name: [] for table in _TABLES}

    def collect(table: str, batch: pa.RecordBatch) -> None:
        made[table] += batch.to_pylist()

    rows = ContentRows(account_id, collect, private=private)
    rows.add(
        message,
        fetched_at=row["fetched_at"],
        sha256=content_sha256(message.raw),
        raw_pack=row["raw_pack"],
        source=row["source"],
    )
    rows.flush()
    if [made_row["privacy"] for made_row in made[MESSAGES.name]] != [row["privacy"] or "full"]:
        return False
    row["privacy"] = row["privacy"] or "full"
    tier = private.policy.tier
    return any(_values(table, made[table.name], tier) != _values(table, stored[table.name], tier) for table in _TABLES)


def _values(table: Table, rows: list[dict[str, Any]], tier: Tier) -> list[tuple[object, ...]]:
    """Rows as they can be compared, wherever they come from.

    Rows that were bought under a wider tier and rewritten differ from those bought under this one in what the body alone told,
    in white space within headers, and in what stands for an address within text.
    """
    skipped = {"headers", *(("defects", "size_bytes") if tier == "headers" else ())}

    def value(column: Column, found: Any) -> Any:
        if found is None:
            return None
        if column.kind == "json":
            return orjson.loads(found)
        if tier == "headers" and isinstance(found, str):
            # Gmail unfolds headers in its own way
            return " ".join(found.split())
        return without_hashes(found) if tier == "hashed" and column.name in _TEXTS else found

    values = [
        tuple(value(column, row[column.name]) for column in table.columns if column.name not in skipped) for row in rows
    ]
    return sorted(values, key=lambda row: tuple(map(str, row[: len(table.key)])))


def _batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
