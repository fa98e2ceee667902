"""What comes after rows and packs: files are written anew, searched, and a receipt is kept.

The receipt holds no personal data: a keyed hash in place of an address, counts, and places.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mail_ingest.accounts.erasures import Kind, shown_hash
from mail_ingest.errors import BusyError
from mail_ingest.ingest.erasing.account_rows import Tally
from mail_ingest.ingest.erasing.evidence import Evidence
from mail_ingest.ingest.erasing.proof import Proof, prove
from mail_ingest.sources.stored import STORED_TABLES
from mail_ingest.sources.tables import DATASET, FETCH_FAILURES, LABELS
from mail_ingest.warehouse.spool import remove_abandoned

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

#: Never reached from here, whatever was erased.
_ELSEWHERE = ("backups, and copies that other programs have made", "Dagster's own history of runs")
_TOUCHED = {f"{DATASET}.{table.name}" for table in (*STORED_TABLES, FETCH_FAILURES, LABELS)}


@dataclass(slots=True)
class Erasure:
    """What an erasure or a rewriting came to: its receipt, and where something was found that had to go (`paths` are files,
    which may be named like a mailbox and stay out of the receipt)."""

    receipt: dict[str, Any]
    paths: list[str] = field(default_factory=list)

    @property
    def is_proven(self) -> bool:
        return not self.receipt["found"]


def finish(
    engine: Engine,
    rewriting_id: str,
    kind: Kind,
    evidence: Evidence,
    tally: Tally,
    account_ids: Collection[str],
    *,
    subject: str,
    is_whole_account: bool = False,
    not_reached: Collection[str] = (),
) -> Erasure:
    """Builds the analyst tables, writes the files anew, searches them, and keeps the receipt.

    Raises BusyError, WarehouseError; then all rows are rewritten, and the next call goes on with the files.
    """
    left = [*not_reached]
    remove_abandoned(engine.spool_folder)
    if engine.warehouse.exists:
        engine.build_analyst_tables()
        # sessions that builds have left temporary tables in
        engine.warehouse.close()
        try:
            left += engine.warehouse.write_anew(_tables(engine, everything=is_whole_account))
        except BusyError as error:
            raise BusyError(
                f"All rows are rewritten; the warehouse's file is not yet, and still holds what was there before. {error} "
                "Then `mail-ingest erase --finish` ends it."
            ) from None
    try:
        left += engine.registry.erasures.write_anew(engine.locks.wait_s)
    except BusyError as error:
        raise BusyError(
            f"All rows are rewritten, and the warehouse's files. {error} Then `mail-ingest erase --finish` ends it."
        ) from None
    if engine.warehouse.dialect == "postgres":
        left.append("working folders of dlt and spools on other machines")
    proof = prove(engine, evidence, account_ids)
    receipt = receipt_of(kind, subject, tally, account_ids, proof, [*left, *proof.not_reached, *_ELSEWHERE])
    engine.registry.erasures.finish(rewriting_id, kind, receipt, engine.locks.wait_s)
    return Erasure(receipt, proof.paths)


def receipt_of(
    kind: Kind,
    subject: str,
    tally: Tally,
    account_ids: Collection[str],
    proof: Proof,
    not_reached: Collection[str],
    *,
    is_dry_run: bool = False,
) -> dict[str, Any]:
    """The document that is kept and printed."""
    return {
        "receipt_id": f"{kind}-{secrets.token_hex(8)}",
        "kind": kind,
        "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "dry_run": is_dry_run,
        "subject_hash": shown_hash(subject),
        "accounts": len(account_ids),
        "messages_removed": tally.messages_removed,
        "messages_changed": tally.messages_changed,
        "rows": {
            name: {"removed": tally.rows_removed[name], "changed": tally.rows_changed[name]}
            for name in sorted({*tally.rows_removed, *tally.rows_changed})
            if tally.rows_removed[name] or tally.rows_changed[name]
        },
        "packs_rewritten": tally.packs_rewritten,
        "packs_deleted": tally.packs_deleted,
        "strings_searched": proof.strings,
        "bytes_searched": proof.bytes,
        "found": proof.places,
        "not_reached": list(not_reached),
    }


def lines(erasure: Erasure) -> list[str]:
    """The receipt for people."""
    receipt: Mapping[str, Any] = erasure.receipt
    done = "would be" if receipt["dry_run"] else "were"
    told = [
        f"{receipt['messages_removed']} messages {done} removed and {receipt['messages_changed']} rewritten; accounts: "
        + str(receipt["accounts"]),
        *(
            f"  {name}: {rows['removed']} rows removed, {rows['changed']} changed"
            for name, rows in receipt["rows"].items()
        ),
    ]
    if receipt["dry_run"]:
        return [*told, "nothing was done; packs of the raw archive are read when it is"]
    told.append(
        f"raw archive: {receipt['packs_rewritten']} packs rewritten, {receipt['packs_deleted']} deleted; searched "
        f"{receipt['bytes_searched']:,} bytes for {receipt['strings_searched']} strings that had to go: "
        + (f"found {sum(receipt['found'].values())} times" if receipt["found"] else "none found")
    )
    if not receipt["strings_searched"]:
        told.append(
            "  there was no string to choose: nothing of it was stored, or a run that was killed had erased it before"
        )
    told += [f"  still in {place}: {count} times" for place, count in receipt["found"].items()]
    told += [f"    {path}" for path in erasure.paths]
    told += [f"  not reached: {what}" for what in receipt["not_reached"]]
    return [*told, f"receipt {receipt['receipt_id']}; `mail-ingest erase --list` shows it again"]


def _tables(engine: Engine, *, everything: bool) -> list[str]:
    """The tables that have lost rows."""

    def has_lost(name: str) -> bool:
        schema = name.partition(".")[0]
        is_built = schema in ("mail", "mail_build") or schema.startswith(f"{DATASET}_staging")
        return name in _TOUCHED or is_built or (everything and schema == DATASET)

    return [quoted for quoted in engine.warehouse.all_tables() if has_lost(quoted.replace('"', ""))]
