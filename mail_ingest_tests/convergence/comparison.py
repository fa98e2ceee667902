"""The promise, checked: the warehouse is the mailbox as far as its privacy allows, nothing was bought twice, and every change
served is an event."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from mail_ingest.ingest import Engine
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.ingest.checks import all_checks, check_warehouse
from mail_ingest.privacy import Policy, holds_too_little, holds_too_much
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence.planted import Facts, forbidden
from mail_ingest_tests.convergence.served import Event, Served
from mail_ingest_tests.traces import places_of
from mail_ingest_tests.truth import (
    assert_archive_equal,
    assert_contents_equal,
    assert_deletions_equal,
    assert_states_equal,
)


def assert_converged(engine: Engine, box: Mailbox, erased: Collection[str], *, is_rewritten: bool) -> None:
    """Ids, threads, labels, deletions and bytes are the mailbox's; `verify` finds the same. `erased`: whose mail is kept out;
    `is_rewritten`: whether what may be stored was ever another than all."""
    assert_states_equal(engine, box)
    assert_deletions_equal(engine, box)
    if is_rewritten:
        assert_stored_as_allowed(engine, box, erased)
    else:
        assert_contents_equal(engine, box)
        assert_archive_equal(engine, box)
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions())
    assert (audit.drift, audit.pending, audit.undecided, audit.backlog) == (0, 0, 0, 0), "verify sees what is not there"
    assert audit.unresolved_failures == 0, "a message whose content is stored counts as failed"
    assert_checks_pass(engine)


def assert_stored_as_allowed(engine: Engine, box: Mailbox, erased: Collection[str]) -> None:
    """Everything that may be stored is, in no form that says more than it may, and what may not stands nowhere."""
    policy = engine.registry.policy(engine.registry.get(ADDRESS))
    with engine.warehouse.open() as connection:
        rows = connection.execute("select message_id, privacy, sha256, raw_pack from gmail.messages").fetchall()
        left_out = {row[0] for row in connection.execute("select message_id from gmail.left_out_messages").fetchall()}
    stored = {row[0]: row[1:] for row in rows}
    assert len(stored) == len(rows), "content is stored twice"
    packs = {pack: _bytes_in(engine, pack) for _, _, pack in stored.values() if pack}
    for message_id in box.messages():
        raw = box.raw(message_id)
        facts = Facts.of(raw)
        if facts.author in erased or (facts.is_sign_in and not policy.sign_in_mail):
            assert message_id not in stored, f"{message_id} is stored, although it may not be"
            assert message_id in left_out, f"{message_id} is not stored, and nothing says why"
            continue
        if facts.is_sign_in and message_id in left_out:
            continue  # nobody agreed to buy it again
        assert message_id in stored, f"{message_id} is missing"
        form, sha256, pack = stored[message_id]
        assert not holds_too_much(form, policy, has_attachments=facts.has_attachments), (
            f"{message_id} says more: {form}"
        )
        if form.partition(" ")[0] in ("full", "redacted"):
            assert sha256 == hashlib.sha256(raw).hexdigest()
        if pack:
            assert policy.keeps_bytes, f"{message_id} has bytes, although it may have none"
            assert not facts.mentioned & set(erased), f"the bytes of {message_id} hold an erased address"
            assert packs[pack][message_id] == raw
    assert engine.registry.erasures.unfinished() == [], "a rewriting is not ended"
    assert [receipt["found"] for receipt in engine.registry.erasures.receipts() if receipt["found"]] == []
    texts = forbidden(policy, erased)
    if texts:
        assert places_of(engine, texts) == []
        files = engine.warehouse.files() if engine.warehouse.dialect == "duckdb" else []
        held = b"".join(path.read_bytes() for path in files).lower()
        assert [text for text in texts if text.lower().encode() in held] == []


def _bytes_in(engine: Engine, pack: str) -> dict[str, bytes]:
    return {held.message.message_id: held.message.raw for held in engine.archive.read_pack(pack)}


def assert_checks_pass(engine: Engine) -> None:
    """No check raises a false alarm; those that warn tell of what may well be."""
    errors = [check for check in all_checks() if check.severity == "error"]
    assert {check.name: found for check, found in check_warehouse(engine, errors) if found.rows} == {}


def assert_events_complete(engine: Engine, served: Served, landed: set[Event]) -> None:
    """Every event that a landed state sync was served is there once, and no other event claims to be from history."""
    with engine.warehouse.open() as connection:
        rows = Counter(
            Event(*row)
            for row in connection.execute(
                "select history_id, message_id, label_id, action from gmail.label_events where source = 'history'"
            ).fetchall()
        )
        keys = connection.execute(
            "select count(*), count(distinct (history_id, message_id, label_id, action)) from gmail.label_events"
        ).fetchone()
    assert keys is not None
    assert keys[0] == keys[1], "an event is stored twice"
    assert rows.keys() >= landed, f"events are missing: {sorted(landed - rows.keys())[:5]}"
    assert rows.keys() <= served.history, f"events that were never served: {sorted(rows.keys() - served.history)[:5]}"


class Purchases:
    """The account of content: what was bought, and what may be bought again because a dead process had not kept it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        #: What may be bought once more.
        self._forgiven: Counter[str] = Counter()
        self.lost_to_deaths = 0
        self._before: Counter[str] = Counter()

    def begin(self) -> None:
        """A sync begins."""
        self._before = self._served.bought.copy()

    def check(self, engine: Engine, *, died: bool, damaged: int) -> None:
        """After a sync: nothing was bought twice, and what was bought is kept: archived, stored as its privacy asks for, or
        left out on purpose.

        Where the process died, what this very sync had bought and not kept may be bought once more. `damaged` answers
        were cut off by the server, and count for nothing.
        """
        bought = self._served.bought
        held = Held.of(engine)
        lost = (bought - self._before).keys() - held.archived - held.as_asked - held.left_out
        if died:
            self._forgiven.update(lost)
            self.lost_to_deaths += len(lost)
        else:
            assert not lost, f"{len(lost)} contents were bought and not kept"
        twice = [mid for mid, count in bought.items() if count > 1 + self._forgiven[mid]]
        assert not twice, f"content bought twice: {twice[:5]}"
        gone = bought.keys() - held.archived - held.stored - held.left_out - self._forgiven.keys()
        assert not gone, "a content that was kept is gone"
        by_log = self._served.bought_by_the_log()
        assert (by_log - bought).total() <= damaged, "the request log tells of other purchases"

    def before_rewriting(self, engine: Engine, agreed: Policy | None = None) -> None:
        """What may be stored is about to change. Packs that no row points to lose what may not be in them, which is bought
        again; and so is what lacks something that is allowed then, where somebody `agreed` to it."""
        held = Held.of(engine)
        self._forgiven.update(held.archived - held.stored)
        if agreed is not None:
            self._forgiven.update(held.stored - held.sufficient(agreed))
            self._forgiven.update(held.left_out if agreed.sign_in_mail else ())


@dataclass(frozen=True)
class Held:
    """Ids of messages by where something of them is kept: packs, rows (with the form of each), and marks of what is left out."""

    archived: set[str]
    forms: dict[str, str]
    left_out: set[str]
    policy: Policy

    @classmethod
    def of(cls, engine: Engine) -> Held:
        archived = {mid for pack in engine.archive.packs(ADDRESS) for mid in engine.archive.message_ids(pack)}
        policy = engine.registry.policy(engine.registry.get(ADDRESS))
        if not engine.warehouse.exists:
            return cls(archived, {}, set(), policy)
        with engine.warehouse.open() as connection:
            forms = dict(connection.execute("select message_id, privacy from gmail.messages").fetchall())
            marks = connection.execute("select message_id from gmail.left_out_messages").fetchall()
        return cls(archived, forms, {row[0] for row in marks}, policy)

    @property
    def stored(self) -> set[str]:
        return set(self.forms)

    @property
    def as_asked(self) -> set[str]:
        """Those that are stored with all that their privacy gives."""
        return self.sufficient(self.policy)

    def sufficient(self, policy: Policy) -> set[str]:
        return {mid for mid, form in self.forms.items() if not holds_too_little(form, policy)}
