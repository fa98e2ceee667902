"""`erase --contact`: what a person wrote goes, what others wrote loses them, nothing of either comes back, and that is shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mail_ingest import mime
from mail_ingest.accounts import PrivacySettings, token_env
from mail_ingest.errors import BusyError, ConfigError
from mail_ingest.ingest import Engine, SyncOptions, content
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.ingest.erasing.account_rows import Instructions
from mail_ingest.ingest.erasing.contact import erase_contact, let_in
from mail_ingest.ingest.erasing.mailbox import erase_mailbox
from mail_ingest.ingest.erasing.receipts import lines
from mail_ingest.ingest.erasing.resuming import rewrite_account
from mail_ingest.ingest.reparse import reparse_accounts
from mail_ingest.privacy import Hasher
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources.stored import StoredMessage
from mail_ingest.warehouse.reading import ask
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.mime.builders import attachment, multipart, part
from mail_ingest_tests.traces import places_of
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_states_equal, sync

BOB = "bob@example.com"
JANE = "jane.doe@corr.example"
#: Another person, whose address ends like the one that is erased.
MARY = "mary.jane.doe@corr.example"
WRITTEN = "The keys to the greenhouse hang behind the third pot"
QUOTED = "Could you water the cactus until I am back"

#: Where the database makes a difference; all else is shown on DuckDB alone.
on_both = pytest.mark.warehouses("duckdb", "postgres")


@dataclass
class Mail:
    """Ids of what is in the mailbox, by what the person has to do with it."""

    written: str
    quoted: str
    copied: str
    hidden: str
    others: list[str]

    @property
    def mentioning(self) -> list[str]:
        return [self.quoted, self.copied, self.hidden]


def fill(box: Mailbox, seed: int = 3) -> Mail:
    others = box.generate(12, seed=seed, mean_size_bytes=2_000)
    written = box.add(
        subject="Greenhouse and cactus",
        sender=f"Jane Doe <{JANE}>",
        to=box.address,
        body=f"{WRITTEN}.\r\n{QUOTED}.\r\n",
        html=f"<p>{WRITTEN}</p>",
        attachments=[("keys of the greenhouse.txt", "text/plain", b"third pot")],
    )
    quoted = box.add(
        subject="Re: Greenhouse and cactus",
        sender=f"Mary <{MARY}>",
        to=f"{box.address}, Jane Doe <Jane.Doe@Corr.example>",
        body=f"I did, says Jane Doe.\r\n\r\nOn Monday, Jane Doe <{JANE}> wrote:\r\n> {QUOTED}.\r\n",
    )
    copied = box.add(subject="Minutes", sender=f"Mary <{MARY}>", to=box.address, cc=JANE, body="All is well.\r\n")
    encoded = base64.encodebytes(f'<p>Ask <a href="mailto:{JANE}">her</a></p>'.encode())
    hidden = box.add(
        raw=multipart(
            "alternative",
            [
                part("text/plain", b"Ask her."),
                part("text/html; charset=utf-8", encoded, "Content-Transfer-Encoding: base64"),
            ],
            f"From: Mary <{MARY}>",
            f"To: {box.address}",
            "Subject: Who knows",
        ).replace(b"\n", b"\r\n")
    )
    return Mail(written, quoted, copied, hidden, others)


@pytest.fixture
def mail(engine: Engine, box: Mailbox) -> Mail:
    filled = fill(box)
    sync(engine)
    return filled


def row(engine: Engine, message_id: str, columns: str) -> tuple[object, ...] | None:
    with engine.warehouse.open() as connection:
        found: tuple[object, ...] | None = connection.execute(
            f"select {columns} from gmail.messages where message_id = ?", [message_id]
        ).fetchone()
    return found


def assert_jane_is_gone(engine: Engine, mail: Mail) -> None:
    assert places_of(engine, ["<" + JANE, f" {JANE}", ":" + JANE, WRITTEN]) == []
    assert places_of(engine, [f"xx{JANE}"]) == []
    with engine.warehouse.open() as connection:
        left = connection.execute(
            "select count(*) from gmail.message_recipients where lower(address) = ?", [JANE]
        ).fetchone()
        contacts = connection.execute("select count(*) from mail.contacts where address = ?", [JANE]).fetchone()
    assert (left, contacts) == ((0,), (0,))
    assert row(engine, mail.written, "1") is None


@on_both
def test_what_a_person_wrote_goes_and_what_others_wrote_loses_them(engine: Engine, box: Mailbox, mail: Mail) -> None:
    assert places_of(engine, [WRITTEN]), "there is nothing to erase"

    erased = erase_contact(engine, f" {JANE.upper()} ")

    assert_jane_is_gone(engine, mail)
    assert row(engine, mail.quoted, "from_address, subject, body_text, raw_pack") == (
        MARY,
        "Re: Greenhouse and cactus",
        f"I did, says [erased].\n\nOn Monday, [erased] wrote:\n> {QUOTED}.\n",
        None,
    )
    assert row(engine, mail.hidden, "body_text, raw_pack") == ("Ask her.", None)
    for message_id in mail.others:
        [pack] = row(engine, message_id, "raw_pack") or ("",)
        archived = engine.archive.read_message(str(pack), message_id)
        assert archived is not None
        assert archived.message.raw == box.raw(message_id)
    receipt = erased.receipt
    assert (receipt["messages_removed"], receipt["messages_changed"], receipt["packs_rewritten"]) == (1, 2, 1)
    assert receipt["rows"]["gmail.message_recipients"]["removed"] == 4
    assert (receipt["found"], receipt["strings_searched"] >= 3, receipt["bytes_searched"] > 100_000) == ({}, True, True)
    assert_analyst_tables_are_built(engine)


def test_the_mailbox_stays_true_and_nothing_is_bought_again(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail
) -> None:
    erase_contact(engine, JANE)
    gmail.reset_ledger()

    for options in ({}, {"mode": "full"}, {"retry": True}, {"partitions": ("2026-11",)}):
        run = sync(engine, **options)
        assert (run.outcome, run.backlog, run.contents_stored) == ("success", 0, 0)

    assert gmail.calls("messages.get") == 0
    assert_states_equal(engine, box)
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions(archive_sample=100, sample=100))
    assert (audit.drift, audit.backlog, audit.unresolved_failures) == (0, 0, 0), audit.lines()
    assert audit.left_out_messages == 1
    reparse_accounts(engine, engine.accounts(), lambda progress: None)
    assert_jane_is_gone(engine, mail)


@on_both
def test_mail_that_comes_afterwards_is_judged_in_the_same_way(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail
) -> None:
    erase_contact(engine, JANE)
    later = fill(box, seed=4)
    gmail.reset_ledger()

    run = sync(engine)

    assert (run.outcome, run.backlog) == ("success", 0)
    assert run.contents_stored == len(later.others) + 3
    assert_jane_is_gone(engine, later)
    assert row(engine, later.quoted, "body_text, raw_pack") == row(engine, mail.quoted, "body_text, raw_pack")
    gmail.reset_ledger()
    sync(engine)
    sync(engine, mode="full")
    assert gmail.calls("messages.get") == 0


def test_a_pack_that_was_never_loaded_brings_nothing_back(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail
) -> None:
    """As a process leaves it that dies between archive and load, or as a restored folder holds it."""
    with engine.warehouse.open() as connection:
        [pack] = connection.execute("select raw_pack from gmail.messages limit 1").fetchone()
    folder = engine.settings.home / "raw"
    kept = (folder / pack).read_bytes()
    erase_contact(engine, JANE)
    with engine.warehouse.open() as connection:
        for table in ("messages", "message_recipients", "attachments", "left_out_messages"):
            connection.execute(f"delete from gmail.{table}")
    (folder / pack).write_bytes(kept)
    gmail.reset_ledger()

    run = sync(engine)

    assert (run.outcome, run.backlog) == ("success", 0)
    assert gmail.calls("messages.get") == 3, "those that mention the person are bought anew, without their bytes"
    assert_jane_is_gone(engine, mail)
    assert row(engine, mail.others[0], "raw_pack") != (None,)


def test_who_is_let_in_again_is_stored_again(engine: Engine, box: Mailbox, mail: Mail) -> None:
    erase_contact(engine, JANE)

    assert not let_in(engine, MARY)
    assert let_in(engine, JANE)
    run = sync(engine)

    assert (run.contents_stored, row(engine, mail.written, "from_address")) == (1, (JANE,))


@on_both
def test_a_person_is_erased_and_kept_out_by_their_hash_where_addresses_are_hashed(
    new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADA_TOKEN", box.token)
    engine = new_engine()
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"), privacy=PrivacySettings(tier="hashed"))
    mail = fill(box)
    sync(engine)
    hasher = Hasher(engine.registry.hash_key())
    jane, mary = hasher.address(JANE), hasher.address(MARY)
    assert row(engine, mail.written, "from_address") == (jane,)
    assert (places_of(engine, [JANE]), places_of(engine, [jane, WRITTEN]) != []) == ([], True)

    erased = erase_contact(engine, JANE)

    assert erased.is_proven
    assert (erased.receipt["messages_removed"], erased.receipt["messages_changed"]) == (1, 2)
    assert places_of(engine, [jane, WRITTEN]) == []
    assert row(engine, mail.quoted, "from_address") == (mary,)
    assert_analyst_tables_are_built(engine)
    later = fill(box, seed=4)
    assert sync(engine).contents_stored == len(later.others) + 3
    assert places_of(engine, [jane, JANE, WRITTEN]) == []
    assert let_in(engine, JANE)
    sync(engine)
    assert row(engine, later.written, "from_address") == (jane,)


def test_one_mailbox_alone_can_lose_a_person(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", bob.token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    of_bob = fill(bob)
    engine.sync(engine.accounts([BOB]), SyncOptions())

    erased = erase_contact(engine, JANE, in_account=BOB)

    assert row(engine, of_bob.written, "1") is None
    assert row(engine, mail.written, "from_address") == (JANE,)
    assert "gmail.message_recipients" in erased.receipt["found"], "the other mailbox still has the address"
    erase_contact(engine, JANE)
    assert_jane_is_gone(engine, mail)


def test_a_mailbox_of_its_own_and_what_is_no_address_are_refused(engine: Engine, mail: Mail) -> None:
    for wrong, why in (
        (ADDRESS, "is a mailbox"),
        ("jane", "takes one address"),
        ("Jane <j@x.org>", "takes one address"),
    ):
        with pytest.raises(ConfigError, match=why):
            erase_contact(engine, wrong)

    assert engine.registry.erasures.unfinished() == []


def test_a_dry_run_counts_and_changes_nothing(engine: Engine, mail: Mail) -> None:
    counted = erase_contact(engine, JANE, is_dry_run=True).receipt

    assert (counted["messages_removed"], counted["messages_changed"]) == (1, 2)
    assert row(engine, mail.written, "from_address") == (JANE,)
    assert engine.registry.erasures.kept_out(ADDRESS) is None
    assert engine.registry.erasures.receipts() == []


def test_the_receipt_and_the_control_database_hold_no_personal_data(engine: Engine, mail: Mail) -> None:
    erased = erase_contact(engine, JANE)

    told = json.dumps(erased.receipt) + "\n".join(lines(erased))
    assert [text for text in (JANE, "jane", "doe", ADDRESS, WRITTEN, "greenhouse") if text in told.lower()] == []
    assert [receipt["receipt_id"] for receipt in engine.registry.erasures.receipts()] == [erased.receipt["receipt_id"]]
    assert engine.registry.erasures.unfinished() == []


def test_what_is_left_anywhere_is_found_and_named(engine: Engine, mail: Mail) -> None:
    spool = engine.settings.home / "spool"
    spool.mkdir(exist_ok=True)
    (spool / "left.arrow").write_bytes(b"\x00\x01" + WRITTEN.encode() + JANE.encode())
    with engine.warehouse.open() as connection:
        connection.execute("create schema notes")
        connection.execute("create table notes.people (note varchar)")
        connection.execute("insert into notes.people values (?), (?)", [f"call {JANE} today", f"not {MARY}"])

    erased = erase_contact(engine, JANE)

    found = erased.receipt["found"]
    assert not erased.is_proven
    assert found.pop("notes.people") == 1
    assert found.pop("file under home: spool") == 2
    found.pop("file of the warehouse", None)  # the same table
    assert found == {}
    assert str(spool / "left.arrow") in erased.paths
    assert JANE not in json.dumps(erased.receipt) + "\n".join(lines(erased))


def test_an_account_that_is_held_is_done_by_the_same_command_later(
    engine: Engine, new_engine: Callable[..., Engine], mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "NEXT_TURN_S", 0.2)
    impatient = new_engine(wait_s=0.2)
    with engine.locks.hold(f"content:{ADDRESS}"), pytest.raises(BusyError, match="same command again"):
        erase_contact(impatient, JANE)
    assert [each.rows_done_at for each in engine.registry.erasures.unfinished()] == [None]

    assert erase_contact(impatient, JANE).is_proven

    assert_jane_is_gone(engine, mail)


def test_an_account_whose_rows_are_done_waits_for_the_slowest_one_and_is_not_rewritten_by_every_sync(
    engine: Engine,
    new_engine: Callable[..., Engine],
    gmail: Simulator,
    mail: Mail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bob = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", bob.token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    of_bob = fill(bob)
    engine.sync(engine.accounts([BOB]), SyncOptions())
    monkeypatch.setattr(content, "NEXT_TURN_S", 0.2)
    with engine.locks.hold(f"content:{BOB}"), pytest.raises(BusyError, match=BOB):
        erase_contact(new_engine(wait_s=0.2), JANE)
    read: list[str] = []
    read_pack = engine.archive.read_pack
    monkeypatch.setattr(engine.archive, "read_pack", lambda path: read.append(path) or read_pack(path))

    [run] = engine.sync(engine.accounts([ADDRESS]), SyncOptions())
    assert (run.outcome, read) == ("success", [])
    [run] = engine.sync(engine.accounts([BOB]), SyncOptions())

    assert run.outcome == "success"
    assert row(engine, of_bob.written, "1") is None
    assert engine.registry.erasures.unfinished() == []
    assert_jane_is_gone(engine, mail)


@on_both
def test_an_erased_mailbox_leaves_a_receipt_and_nothing_else(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", bob.token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    only_bobs = "Nobody but Bob was told of the second cellar"
    bob.add(subject="Cellar", sender=f"Jane Doe <{JANE}>", to=BOB, body=f"{only_bobs}.\r\n")
    both = bob.add(subject="Greenhouse", sender=f"Jane Doe <{JANE}>", to=BOB, body=f"{WRITTEN}.\r\n")
    engine.sync(engine.accounts([BOB]), SyncOptions())
    assert erase_mailbox(engine, BOB, is_dry_run=True).receipt["messages_removed"] == 2

    erased = erase_mailbox(engine, BOB)

    assert places_of(engine, [BOB, only_bobs, both]) == []
    assert row(engine, mail.written, "from_address") == (JANE,), "the other mailbox lacks nothing"
    assert (erased.receipt["messages_removed"], erased.is_proven, erased.receipt["strings_searched"] >= 3) == (
        2,
        True,
        True,
    )
    assert BOB not in json.dumps(engine.registry.erasures.receipts())
    with pytest.raises(ConfigError, match="not registered"):
        erase_mailbox(engine, BOB)


def without_bodies(message: StoredMessage) -> StoredMessage | None:
    """As a stricter privacy tier might have it."""
    if message.message["subject"] == "Minutes":
        return None
    values = {**message.message, "body_text": None, "snippet": None}
    return StoredMessage(values, message.recipients, (), None)


@on_both
def test_what_an_account_may_no_longer_have_is_rewritten_and_proven(
    engine: Engine, box: Mailbox, gmail: Simulator, mail: Mail
) -> None:
    instructions = Instructions(without_bodies, doomed=True, left_out=lambda message: "sign-in code")

    erased = rewrite_account(engine, ADDRESS, instructions)

    assert places_of(engine, [WRITTEN, QUOTED]) == []
    assert list((engine.settings.home / "raw").rglob("*.parquet")) == []
    assert row(engine, mail.written, "subject, body_text, raw_pack") == ("Greenhouse and cactus", None, None)
    assert row(engine, mail.copied, "1") is None
    assert (erased.is_proven, erased.receipt["strings_searched"] > 10) == (True, True)
    assert_analyst_tables_are_built(engine)
    gmail.reset_ledger()
    sync(engine)
    assert gmail.units() == 2


def with_note(box: Mailbox, charset: str) -> str:
    """A message of Mary's with an attached text that says to be written in this charset, and mentions Jane."""
    note = f"Ask {JANE} about the cellar of {charset}.\n".encode()
    return box.add(
        raw=multipart(
            "mixed",
            [part("text/plain", b"See the note."), attachment("note.txt", note, f"text/plain; charset={charset}")],
            f"From: Mary <{MARY}>",
            f"To: {box.address}",
            f"Subject: Note in {charset}",
        )
    )


def test_charsets_that_no_mail_is_written_in_stop_neither_an_erasure_nor_a_sync(
    engine: Engine, box: Mailbox, mail: Mail
) -> None:
    """Python knows codecs of these names, and they raise."""
    charsets = ("idna", "undefined", "punycode")
    before = [with_note(box, charset) for charset in charsets]
    sync(engine)

    erased = erase_contact(engine, JANE)
    after = [with_note(box, charset) for charset in charsets]
    run = sync(engine)

    assert (erased.is_proven, run.outcome, run.backlog) == (True, "success", 0)
    for message_id in (*before, *after):
        assert row(engine, message_id, "raw_pack") == (None,)
    assert places_of(engine, [f"cellar of {charset}" for charset in charsets]) == []


def test_mail_that_the_parser_cannot_read_is_not_kept_once_somebody_is_erased(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whom it mentions; all other mail comes and goes as ever."""
    poison, parse = b"Subject: =?utf-8?q?poison?=", mime.parse

    def parse_or_raise(raw: bytes) -> mime.ParsedMessage:
        if poison in raw:
            raise RecursionError(JANE)
        return parse(raw)

    earlier = box.add(raw=poison + b"\r\n\r\nfirst\r\n")
    sync(engine)
    monkeypatch.setattr(mime, "parse", parse_or_raise)

    kept = rewrite_account(engine, ADDRESS, Instructions(lambda message: message, doomed=False, left_out=lambda _: ""))
    assert row(engine, earlier, "raw_pack") != (None,)
    assert [what for what in kept.receipt["not_reached"] if what.startswith("1 messages of the raw archive")]

    erased = erase_contact(engine, JANE)
    later, other = box.add(raw=poison + b"\r\n\r\nsecond\r\n"), box.add(subject="Harmless")
    run = sync(engine)

    assert_jane_is_gone(engine, mail)
    assert (erased.is_proven, row(engine, earlier, "raw_pack")) == (True, (None,))
    assert (run.outcome, run.backlog, run.contents_stored) == ("partial", 1, 1)
    assert (row(engine, later, "1"), row(engine, other, "1")) == (None, (1,))
    packs = [
        pack
        for pack in engine.archive.packs(ADDRESS)
        for held in engine.archive.read_pack(pack)
        if poison in held.message.raw
    ]
    assert packs == []


def test_a_file_that_cannot_be_read_is_named_in_the_receipt_and_stops_no_erasure(engine: Engine, mail: Mail) -> None:
    (engine.settings.home / "unreadable").symlink_to("/proc/self/mem")

    erased = erase_contact(engine, JANE)

    assert erased.is_proven
    assert "1 files that cannot be read: delete them if nothing may stay" in erased.receipt["not_reached"]


def test_no_earlier_file_of_the_warehouse_is_held_after_rewritings(engine: Engine, mail: Mail) -> None:
    """A deleted file keeps its room on the disk, and what was to go with it, until the last that holds it lets go."""
    for person in (JANE, MARY):
        assert erase_contact(engine, person).is_proven

    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in opened if "warehouse.duckdb" in name and name.endswith("(deleted)")] == []


ERASE_AND_WAIT = """
import sys
from mail_ingest.ingest import Engine
from mail_ingest.ingest.erasing.contact import erase_contact
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.archive import RawArchive
rewrite = RawArchive.rewrite
def wait_and_rewrite(*arguments):
    print("rewriting", arguments[2], flush=True)
    sys.stdin.readline()
    return rewrite(*arguments)
RawArchive.rewrite = wait_and_rewrite
print(erase_contact(Engine(load_settings(), wait_s=30.0), sys.argv[1]).is_proven, flush=True)
"""


@on_both
def test_answers_and_other_accounts_syncs_go_on_while_an_account_is_rewritten(
    engine: Engine,
    new_engine: Callable[..., Engine],
    gmail: Simulator,
    environment: dict[str, str],
    mail: Mail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bob = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", bob.token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    of_bob = bob.add(subject="For Bob", sender=f"Jane Doe <{JANE}>", to=BOB, body="Hello.\r\n")
    other = bob.add(subject="From Mary", sender=f"Mary <{MARY}>", to=BOB, body="Hello.\r\n")
    command = [sys.executable, "-c", ERASE_AND_WAIT, JANE]
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as erasing:
        assert erasing.stdout is not None
        assert erasing.stdout.readline() == f"rewriting {ADDRESS}\n"

        beside = new_engine(wait_s=2.0)
        with ask(beside.settings, f"select message_id from mail.messages where account_id = '{ADDRESS}'") as answer:
            seen = set(answer.table().column(0).to_pylist())
        [run] = beside.sync(beside.accounts([BOB]), SyncOptions())
        assert erasing.poll() is None
        said, _ = erasing.communicate("\n", timeout=120)

    assert seen >= set(mail.others)
    assert (run.outcome, run.error, run.contents_stored) == ("success", "", 1)
    assert (erasing.returncode, said) == (0, "True\n")
    assert_jane_is_gone(engine, mail)
    assert (row(engine, of_bob, "1"), row(engine, other, "from_address")) == (None, (MARY,))
