"""Privacy tiers from the mailbox to the last byte on disk: what a tier forbids is nowhere, and what it allows is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from mail_ingest.accounts import PrivacySettings, token_env
from mail_ingest.errors import BusyError, ConfigError
from mail_ingest.ingest import Engine, SyncOptions, content
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.ingest.erasing.resuming import rewrite_account
from mail_ingest.ingest.privacy_change import change_privacy, consequences
from mail_ingest.privacy import Hasher, Tier
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence.comparison import assert_checks_pass
from mail_ingest_tests.convergence.deaths import run_in_child
from mail_ingest_tests.convergence.steps import Death
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")

PERSON, NAME = "planted.person@correspondent.example", "Planted Person"
BODY, PHONE, IBAN, CODE = "planted-body", "+44 20 7946 0958", "DE89 3704 0044 0532 0130 00", "90417263"
INSIDE, SUBJECT_PHONE, HTML, FILE = "inside@hidden.example", "415-555-2671", "planted-html", "planted-file-text"
#: What must not be found anywhere, by tier.
FORBIDDEN: dict[Tier, tuple[str, ...]] = {
    "redacted": (PHONE, IBAN, CODE, INSIDE, SUBJECT_PHONE, HTML, FILE),
    "headers": (BODY, PHONE, IBAN, CODE, INSIDE, HTML, FILE, "planted-file-name"),
    "hashed": (
        PERSON,
        NAME,
        PHONE,
        IBAN,
        CODE,
        INSIDE,
        SUBJECT_PHONE,
        HTML,
        FILE,
        "planted-file-name",
        "correspondent.example",
    ),
}
ALLOWED: dict[Tier, tuple[str, ...]] = {
    "redacted": (BODY, PERSON),
    "headers": (PERSON, SUBJECT_PHONE),
    "hashed": (BODY,),
}

RAW = f"""\
From: {NAME} <{PERSON}>\r
To: {ADDRESS}\r
Subject: Call me at {SUBJECT_PHONE}\r
Message-ID: <first@correspondent.example>\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/plain\r
\r
{BODY}: {INSIDE}, {PHONE}, {IBAN}. Your verification code is {CODE}.\r
--b\r
Content-Type: text/html\r
\r
<p title="{HTML} {INSIDE}">more</p>\r
--b\r
Content-Type: text/plain; name="planted-file-name.txt"\r
Content-Disposition: attachment; filename="planted-file-name.txt"\r
\r
{FILE}\r
--b--\r
"""


def plant(box: Mailbox) -> str:
    first = box.add(raw=RAW.encode(), labels=("INBOX",))
    answer = RAW.replace("Message-ID: <first@", "Message-ID: <second@").replace(
        "Subject: Call", "In-Reply-To: <first@correspondent.example>\r\nSubject: Re: Call"
    )
    box.add(raw=answer.encode(), labels=("INBOX",))
    return first


def plant_late_code(box: Mailbox) -> str:
    """Sign-in mail that neither its headers nor its preview give away."""
    return box.add(
        subject=f"Hello there, from {SUBJECT_PHONE}",
        sender="no-reply@planted-service.example",
        to=ADDRESS,
        body="We write to you because you asked us to. " * 12 + f"Your verification code is {CODE}.",
    )


def found(engine: Engine, home: Path, words: tuple[str, ...]) -> list[str]:
    """Which of these stand in any file under home, or in any table of the warehouse."""
    held = [path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    for table in engine.warehouse.all_tables():
        engine.warehouse.search(engine.warehouse.text_of(table), held.append)
    return [word for word in words if any(word.encode() in data for data in held)]


def register(engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch, **privacy: object) -> None:
    monkeypatch.setenv("ADA_TOKEN", box.token)
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"), privacy=PrivacySettings(**privacy))  # type: ignore[arg-type]


def drift(engine: Engine) -> int:
    return audit_account(engine, engine.registry.get(ADDRESS), AuditOptions(sample=20)).drift


def change(engine: Engine, **privacy: object) -> int:
    """Changes the account's privacy as the command does; messages that are bought again for it."""
    settings = PrivacySettings(**privacy)  # type: ignore[arg-type]
    account = engine.registry.get(ADDRESS)
    agreed = consequences(engine, account, settings)
    erasure = change_privacy(engine, account, settings, agreed)
    if erasure is not None:
        assert erasure.is_proven
        assert erasure.receipt["strings_searched"] > 0, "a search for nothing proves nothing"
    return agreed.bought_again


@on_both
@pytest.mark.parametrize("tier", FORBIDDEN)
def test_what_a_tier_forbids_is_nowhere(
    tier: Tier,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = new_engine(MAIL_INGEST_HTML="warehouse")
    register(engine, box, monkeypatch, tier=tier)
    plant(box)
    box.generate(10, seed=5)

    run = sync(engine)

    assert (run.outcome, run.contents_stored, run.backlog) == ("success", 12, 0)
    assert gmail.calls("messages.get") == 12
    assert found(engine, tmp_path / "home", FORBIDDEN[tier]) == []
    assert found(engine, tmp_path / "home", ALLOWED[tier]) == list(ALLOWED[tier])
    assert drift(engine) == 0
    with engine.warehouse.open() as connection:
        forms = connection.execute("select distinct privacy from gmail.messages").fetchall()
        [contacts] = connection.execute("select count(*) from mail.contacts").fetchone()
        [joined] = connection.execute(
            "select count(*) from mail.messages one inner join mail.messages other "
            "on one.account_id = other.account_id and one.in_reply_to = other.rfc822_message_id "
            "where one.subject like 'Re: Call%'"
        ).fetchone()
        [health] = connection.execute("select privacy from mail.account_health").fetchall()
    assert (forms, health) == ([(tier,)], (tier,))
    assert contacts > 3
    assert joined == 1, "replies join with what they answer"


@on_both
@pytest.mark.parametrize("tier", FORBIDDEN)
def test_a_stricter_tier_rewrites_what_is_stored(
    tier: Tier, engine: Engine, box: Mailbox, gmail: Simulator, tmp_path: Path
) -> None:
    plant(box)
    box.generate(5, seed=5)
    sync(engine)
    assert found(engine, tmp_path / "home", (PHONE, PERSON)) == [PHONE, PERSON]

    bought = change(engine, tier=tier)

    assert bought == 0
    assert found(engine, tmp_path / "home", FORBIDDEN[tier]) == []
    assert engine.archive.packs(ADDRESS) == []
    assert sync(engine).contents_stored == 0
    assert gmail.calls("messages.get") == 7
    assert drift(engine) == 0


def test_the_tier_headers_fetches_headers_alone(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    register(engine, box, monkeypatch, tier="headers")
    plant(box)
    asked: list[str] = []
    gmail.before("messages.get", lambda call: asked.extend(parse_qs(call.params)["format"]))

    run = sync(engine)
    units = run.spent.account(ADDRESS)["messages.get"].units
    assert drift(engine) == 0

    assert len(asked) > 2, "the audit asks as well"
    assert set(asked) == {"metadata"}
    assert units == 2 * 20
    with engine.warehouse.open() as connection:
        [recorded] = connection.execute("select cast(units_by_method as varchar) from gmail.sync_runs").fetchone()
    assert json.loads(recorded)["messages.get"] == 2 * 20


def test_attachments_go_where_they_are_turned_off_and_come_back_for_their_price(
    engine: Engine, box: Mailbox, gmail: Simulator, tmp_path: Path
) -> None:
    plant(box)
    box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")
    sync(engine)
    planted = (FILE, "planted-file-name")
    assert found(engine, tmp_path / "home", planted[1:]) == [*planted[1:]]

    assert change(engine, attachments=False) == 0
    box.add(subject="Dinner?", sender="a@b.example", to=ADDRESS, body="at eight")
    assert sync(engine).contents_stored == 1

    assert found(engine, tmp_path / "home", planted) == []
    assert engine.archive.packs(ADDRESS) == []
    assert attachments(engine) == ({"full": 2, "full without attachments": 2}, 2, 0)
    assert_checks_pass(engine)

    gmail.reset_ledger()
    account, on = engine.registry.get(ADDRESS), PrivacySettings(attachments=True)
    agreed = consequences(engine, account, on)
    assert (agreed.bought_again, agreed.units, agreed.rewritten) == (2, 40, 0)
    assert change_privacy(engine, account, on, agreed) is None
    run = sync(engine)

    assert (run.contents_stored, gmail.calls("messages.get")) == (2, 2), "only those that have some"
    assert attachments(engine) == ({"full": 4}, 2, 2)
    assert drift(engine) == 0


def attachments(engine: Engine) -> tuple[dict[str, int], int, int]:
    """Messages by form, attachments as messages count them, and as they are stored."""
    with engine.warehouse.open() as connection:
        forms = connection.execute("select privacy, count(*) from gmail.messages group by 1").fetchall()
        [counted] = connection.execute("select sum(attachment_count) from gmail.messages").fetchone()
        [rows] = connection.execute("select count(*) from gmail.attachments").fetchone()
    return dict(forms), int(counted), rows


def test_what_a_stricter_tier_took_away_is_bought_again_only_where_somebody_agrees(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(8, seed=5)
    sync(engine)
    change(engine, tier="headers")
    engine.registry.change(ADDRESS, privacy=PrivacySettings(tier="full"))

    assert sync(engine).contents_stored == 0, "nobody agreed to a price"

    settings = PrivacySettings(tier="full")
    agreed = consequences(engine, engine.registry.get(ADDRESS), settings)
    change_privacy(engine, engine.registry.get(ADDRESS), settings, agreed)
    run = sync(engine)

    assert (agreed.bought_again, agreed.units) == (8, 160)
    assert (run.contents_stored, run.backlog, run.outcome) == (8, 0, "success")
    assert gmail.calls("messages.get") == 16
    assert sync(engine).contents_stored == 0
    assert drift(engine) == 0
    with engine.warehouse.open() as connection:
        assert connection.execute("select distinct privacy from gmail.messages").fetchall() == [("full",)]


@on_both
def test_what_is_bought_again_and_archived_is_not_bought_a_third_time(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    plant(box)
    box.generate(3, seed=5)
    sync(engine)
    change(engine, tier="headers")
    assert change(engine, tier="full") == 5
    gmail.reset_ledger()
    left = run_in_child(
        lambda: engine.sync(engine.accounts(), SyncOptions()) and "alive",
        Death("a pack has closed", 1),
        engine.warehouse.dialect,
    )
    assert left is None, "the process did not die"
    assert gmail.calls("messages.get") == 5

    run = sync(engine)

    assert (run.contents_adopted, run.contents_stored, run.backlog) == (5, 0, 0)
    assert gmail.calls("messages.get") == 5
    with engine.warehouse.open() as connection:
        assert connection.execute("select distinct privacy from gmail.messages").fetchall() == [("full",)]
    assert_true_to_gmail(engine, box)


@pytest.mark.parametrize("is_used", [True, False])
def test_an_agreement_to_buy_again_holds_once(
    is_used: bool, engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator
) -> None:
    box.generate(2, seed=5)
    strict = new_engine(MAIL_INGEST_PRIVACY="headers")
    sync(strict)
    assert change(engine, sign_in_mail=True) == 2
    if is_used:
        assert sync(engine, max_messages=1).contents_stored == 1
        assert engine.registry.get(ADDRESS).buys_again, "one of them is still to be bought"
        assert sync(engine).contents_stored == 1

    sync(strict)
    gmail.reset_ledger()
    sync(engine)

    assert gmail.calls("messages.get") == 0
    assert not engine.registry.get(ADDRESS).buys_again


def test_an_agreement_to_buy_again_is_not_about_a_wider_default(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = new_engine(MAIL_INGEST_PRIVACY="redacted")
    register(strict, box, monkeypatch, attachments=False)
    plant(box)
    for number in range(3):
        box.add(subject=f"Lunch {number}?", sender="a@b.example", to=ADDRESS, body="at noon")
    sync(strict)
    assert change(strict, attachments=True) == 2, "the two that have some"
    gmail.reset_ledger()

    wide = new_engine(MAIL_INGEST_PRIVACY="full")
    assert sync(wide, max_messages=1).contents_stored == 1
    assert sync(wide).contents_stored == 1

    assert gmail.calls("messages.get") == 2, "nobody agreed to the price of the others"
    assert attachments(wide) == ({"full": 2, "redacted": 3}, 2, 2)
    assert not wide.registry.get(ADDRESS).buys_again
    assert sync(wide).contents_stored == 0
    assert drift(wide) == 0


def test_sign_in_mail_is_bought_once_and_leaves_only_its_id(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    register(engine, box, monkeypatch, sign_in_mail=False)
    box.add(subject="Your verification code", sender="no-reply@planted-service.example", to=ADDRESS, body=CODE)
    box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")

    run = sync(engine)
    again = sync(engine)

    assert (run.contents_stored, run.contents_left_out, run.backlog, run.outcome) == (1, 1, 0, "success")
    assert (again.contents_left_out, again.backlog, gmail.calls("messages.get")) == (0, 0, 2)
    assert found(engine, tmp_path / "home", (CODE, "verification code", "planted-service")) == []
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions(sample=5))
    assert (audit.drift, audit.left_out_messages, audit.backlog) == (0, 1, 0)
    with engine.warehouse.open() as connection:
        assert connection.execute("select left_out_count, backlog_count from mail.account_health").fetchone() == (1, 0)

    assert change(engine, sign_in_mail=True) == 1
    assert sync(engine).contents_stored == 1

    rewrite_account(engine, ADDRESS, engine.privacy_instructions(engine.registry.get(ADDRESS)))

    assert drift(engine) == 0
    with engine.warehouse.open() as connection:
        assert connection.execute("select count(raw_pack) from gmail.messages").fetchone() == (2,), "its bytes stay"


def test_mail_that_is_bought_again_and_turns_out_to_be_sign_in_mail_is_taken_away(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    register(engine, box, monkeypatch, tier="headers", sign_in_mail=False)
    plant_late_code(box)
    kept = box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")
    assert sync(engine).contents_stored == 2, "headers and preview do not tell"
    assert found(engine, tmp_path / "home", ("planted-service",)) == ["planted-service"]
    assert change(engine, tier="redacted") == 2
    gmail.reset_ledger()

    run = sync(engine)
    bought = gmail.calls("messages.get")
    again = sync(engine)

    assert (run.outcome, run.contents_stored, run.contents_left_out, run.backlog) == ("success", 1, 1, 0)
    assert (bought, gmail.calls("messages.get")) == (2, 2)
    assert (again.contents_left_out, again.backlog) == (0, 0)
    assert stored(engine) == {kept}
    assert found(engine, tmp_path / "home", (CODE, "planted-service", "Hello there")) == []
    assert drift(engine) == 0


@on_both
def test_sign_in_mail_that_is_stored_is_erased_where_it_is_turned_off(
    engine: Engine, box: Mailbox, tmp_path: Path
) -> None:
    box.add(subject="Your verification code", sender="no-reply@planted-service.example", to=ADDRESS, body=CODE)
    box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")
    sync(engine)

    change(engine, sign_in_mail=False)

    assert found(engine, tmp_path / "home", (CODE, "verification code", "planted-service")) == []
    assert engine.archive.packs(ADDRESS) != [], "the other message's bytes stay"
    assert (sync(engine).backlog, drift(engine)) == (0, 0)


def plant_code(box: Mailbox) -> str:
    """Sign-in mail and another message, whose id comes back."""
    box.add(subject="Your verification code", sender="no-reply@planted-service.example", to=ADDRESS, body=CODE)
    return box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon")


CODES = (CODE, "verification code", "planted-service")


def test_turning_sign_in_mail_off_while_others_hold_the_account_is_completed_by_the_same_command(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "NEXT_TURN_S", 0.1)
    plant_code(box)
    sync(engine)
    hurried = new_engine(wait_s=0.1)
    with engine.locks.hold(f"content:{ADDRESS}"), pytest.raises(BusyError):
        change(hurried, sign_in_mail=False)

    change(hurried, sign_in_mail=False)

    assert found(engine, tmp_path / "home", CODES) == []
    assert engine.registry.erasures.unfinished() == []


def test_sign_in_mail_that_a_sync_lands_while_it_is_turned_off_goes_with_the_next(
    engine: Engine,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "NEXT_TURN_S", 0.1)
    kept = plant_code(box)
    hurried = new_engine(wait_s=0.1)

    def turn_off() -> None:
        with pytest.raises(BusyError):
            change(hurried, sign_in_mail=False)

    gmail.before("messages.get", turn_off, times=1)
    sync(engine)
    assert found(engine, tmp_path / "home", CODES) == list(CODES), "its package had begun before"

    sync(engine)

    assert found(engine, tmp_path / "home", CODES) == []
    assert stored(engine) == {kept}


def test_a_rewriting_ends_by_the_privacy_that_the_account_has_by_then(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = plant_code(box)
    sync(engine)
    other = new_engine().registry
    check = engine.locks.check

    def turn_off() -> None:
        monkeypatch.setattr(engine.locks, "check", check)
        other.change(ADDRESS, privacy=PrivacySettings(sign_in_mail=False), rewrites=True)

    # called before rows are written
    monkeypatch.setattr(engine.locks, "check", turn_off)
    change(engine, tier="redacted")

    assert found(engine, tmp_path / "home", CODES) == []
    assert stored(engine) == {kept}
    assert engine.registry.erasures.unfinished() == []


def test_an_account_that_comes_back_without_sign_in_mail_loses_what_was_kept_of_it(
    engine: Engine, box: Mailbox, tmp_path: Path
) -> None:
    kept = plant_code(box)
    sync(engine)
    engine.registry.remove(ADDRESS)

    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"), privacy=PrivacySettings(sign_in_mail=False))
    sync(engine)

    assert found(engine, tmp_path / "home", CODES) == []
    assert stored(engine) == {kept}


@on_both
def test_names_of_deleted_labels_are_hashed_by_a_change_that_was_interrupted(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, tmp_path: Path
) -> None:
    gone = box.create_label(f"for {PERSON}")
    box.generate(1, seed=5)
    sync(engine)
    box.delete_label(gone)
    sync(engine)
    with engine.locks.hold(f"account:{ADDRESS}"), pytest.raises(BusyError):
        change(new_engine(wait_s=0.1), tier="hashed")
    assert found(engine, tmp_path / "home", (PERSON,)) == [PERSON]

    sync(engine)

    assert found(engine, tmp_path / "home", (PERSON,)) == []


def test_labels_say_whose_content_is_bought_and_states_are_complete(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, private = box.create_label("Kept"), box.create_label("Private")
    mail = {
        labels: box.add(subject="x", sender="a@b.example", to=ADDRESS, body="y", labels=labels)
        for labels in ((kept,), (kept, private), ("INBOX",), (kept, "DRAFT"), (kept, "CHAT"))
    }
    engine = new_engine()
    register(
        engine,
        box,
        monkeypatch,
        include_labels=["Kept"],
        exclude_labels=[private],
        include_chats=False,
        include_drafts=False,
    )

    run = sync(engine)

    assert (run.states_changed, run.contents_stored, run.backlog, run.out_of_scope) == (5, 1, 0, 4)
    assert run.outcome == "success"
    assert stored(engine) == {mail[kept,]}

    box.relabel(mail["INBOX",], add=(kept,))
    box.relabel(mail[kept,], remove=(kept,))
    run = sync(engine)

    assert (run.contents_stored, run.outcome) == (1, "success")
    assert stored(engine) == {mail[kept,], mail["INBOX",]}, "what lost its label keeps its content"
    assert drift(engine) == 0


@on_both
def test_labels_are_found_by_the_names_that_people_know_where_hashes_are_stored(
    new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    kept, private = box.create_label("Kept"), box.create_label(f"for {PERSON}")
    mail = {"subject": "x", "sender": "a@b.example", "to": ADDRESS, "body": "y"}
    wanted = box.add(**mail, labels=(kept,))
    box.add(**mail, labels=(kept, private))
    box.add(**mail, labels=("INBOX",))
    register(engine, box, monkeypatch, tier="hashed", include_labels=["Kept"], exclude_labels=[f"for {PERSON}"])

    run = sync(engine)

    assert (run.outcome, run.backlog, run.out_of_scope) == ("success", 0, 2)
    assert stored(engine) == {wanted}
    with engine.warehouse.open() as connection:
        names = {row[0] for row in connection.execute("select name from gmail.labels").fetchall()}
    assert "Kept" in names
    assert [name for name in names if "@" in name and PERSON not in name] != [], "it is stored as a hash"
    assert [name for name in names if PERSON in name] == []
    assert change(engine, include_labels=[], exclude_labels=[f"for {PERSON}"]) == 0
    assert sync(engine).contents_stored == 1
    assert drift(engine) == 0


@on_both
def test_contacts_of_ones_own_are_known_where_addresses_are_hashed(
    new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(MAIL_INGEST_INTERNAL_DOMAINS="partner.example")
    register(engine, box, monkeypatch, tier="hashed")
    people = {"colleague@example.com": True, "ally@Partner.example": True, "stranger@elsewhere.example": False}
    for address in people:
        box.add(subject="x", sender=f"Somebody <{address}>", to=ADDRESS, body="y")

    sync(engine)

    hasher = Hasher(engine.registry.hash_key())
    with engine.warehouse.open() as connection:
        rows = dict(connection.execute("select address, is_internal from mail.contacts").fetchall())
    assert {address: rows[hasher.address(address)] for address in people} == people
    assert [address for address in rows if address in people] == []


def test_a_label_that_the_mailbox_does_not_have_stops_content_alone(
    new_engine: Callable[..., Engine], box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    register(engine, box, monkeypatch, exclude_labels=["No such label"])
    box.generate(3, seed=5)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert (run.outcome, run.states_changed, run.contents_stored) == ("failed", 3, 0)
    assert ADDRESS in run.error
    assert "'No such label'" in run.error
    assert "account set" in run.error
    with pytest.raises(ConfigError, match="Neither this"):
        consequences(engine, engine.registry.get(ADDRESS), PrivacySettings(include_labels=["Neither this"]))


def test_a_sync_lands_nothing_wider_after_the_tier_has_changed(
    engine: Engine,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mail_ingest.ingest.content.PACKAGE_MESSAGES", 3)
    plant(box)
    box.generate(10, seed=5)
    other = new_engine()
    gmail.before(
        "messages.get",
        lambda: other.registry.change(ADDRESS, privacy=PrivacySettings(tier="headers")),
        times=1,
        after=4,
    )

    sync(engine)
    with engine.warehouse.open() as connection:
        forms = dict(connection.execute("select privacy, count(*) from gmail.messages group by 1").fetchall())
    sync(engine)

    assert forms["full"] == 6, "packages that were begun before"
    assert forms["headers"] == 6
    assert found(engine, tmp_path / "home", FORBIDDEN["headers"]) == [], "the next sync has rewritten them"


def test_a_default_that_becomes_stricter_holds_for_what_is_stored(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, tmp_path: Path
) -> None:
    plant(box)
    sync(engine)
    stricter = new_engine(MAIL_INGEST_PRIVACY="redacted")

    sync(stricter)

    assert found(stricter, tmp_path / "home", FORBIDDEN["redacted"]) == []
    assert drift(stricter) == 0


def test_raw_bytes_do_not_go_with_a_stricter_tier(engine: Engine) -> None:
    account = engine.registry.get(ADDRESS)

    for settings in (PrivacySettings(tier="redacted"), PrivacySettings(attachments=False)):
        with pytest.raises(ConfigError, match="--raw-archive does not go with"):
            consequences(engine, account, settings, raw_archive=True)


def stored(engine: Engine) -> set[str]:
    with engine.warehouse.open() as connection:
        return {row[0] for row in connection.execute("select message_id from gmail.messages").fetchall()}
