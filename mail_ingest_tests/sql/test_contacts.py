"""`mail.recipients` and, out of it, `mail.contacts`."""

from __future__ import annotations

from mail_ingest.warehouse.configuration import write_hashed_domains
from mail_ingest_tests.sql.databases import ADA, Database, at


def _correspondence(database: Database) -> None:
    """Bo writes twice (once deleted), Ada answers with a copy to Cy, and has a draft to Dee."""
    database.load(
        message_states=[
            database.state("m1", ["INBOX"]),
            database.state("m2", ["SENT"]),
            database.state("m3", ["INBOX"], is_deleted=True, deleted_at=at("2026-03-05 08:00")),
            database.state("m4", ["DRAFT"]),
        ],
        messages=[
            database.message("m1", "2026-03-02 07:00"),
            database.message("m2", "2026-03-02 08:00", from_address=ADA),
            database.message("m3", "2026-03-02 09:00"),
            database.message("m4", "2026-03-02 10:00", from_address=ADA),
        ],
        message_recipients=[
            database.recipient("m1", "from", "Bo@Partner.example", name="Bo Oak"),
            database.recipient("m1", "to", "Ada@Example.com", name="Ada"),
            database.recipient("m2", "from", ADA),
            database.recipient("m2", "to", "bo@partner.example", name="Bo"),
            database.recipient("m2", "to", "bo@partner.example", name="Bo", position=1),
            database.recipient("m2", "cc", "cy@example.com"),
            database.recipient("m2", "cc", "undisclosed", position=1),
            database.recipient("m3", "from", "bo@partner.example", name="Deleted"),
            database.recipient("m4", "to", "dee@example.org"),
        ],
    )
    database.build()


def test_recipients_carry_the_contact_the_domain_and_what_the_message_is(database: Database) -> None:
    _correspondence(database)

    assert database.rows(
        "select kind, position, address, contact_address, domain, internal_date, is_sent, is_draft, is_deleted "
        "from mail.recipients where message_id in ('m1', 'm2') order by message_id, kind, position"
    ) == [
        (
            "from",
            0,
            "Bo@Partner.example",
            "bo@partner.example",
            "partner.example",
            at("2026-03-02 07:00"),
            False,
            False,
            False,
        ),
        ("to", 0, "Ada@Example.com", None, "example.com", at("2026-03-02 07:00"), False, False, False),
        ("cc", 0, "cy@example.com", "cy@example.com", "example.com", at("2026-03-02 08:00"), True, False, False),
        ("cc", 1, "undisclosed", None, None, at("2026-03-02 08:00"), True, False, False),
        ("from", 0, ADA, None, "example.com", at("2026-03-02 08:00"), True, False, False),
        (
            "to",
            0,
            "bo@partner.example",
            "bo@partner.example",
            "partner.example",
            at("2026-03-02 08:00"),
            True,
            False,
            False,
        ),
        (
            "to",
            1,
            "bo@partner.example",
            "bo@partner.example",
            "partner.example",
            at("2026-03-02 08:00"),
            True,
            False,
            False,
        ),
    ]


def test_contacts_are_others_that_wrote_or_were_written_to(database: Database) -> None:
    _correspondence(database)

    assert database.rows(
        "select address, name, names, name_count, domain, is_internal, first_message_at, last_message_at, "
        "received_count, sent_count from mail.contacts order by address"
    ) == [
        # Bo was named so twice, and Bo Oak once
        (
            *("bo@partner.example", "Bo", "Bo; Bo Oak", 2, "partner.example", False),
            *(at("2026-03-02 07:00"), at("2026-03-02 08:00"), 1, 1),
        ),
        ("cy@example.com", None, None, 0, "example.com", True, at("2026-03-02 08:00"), at("2026-03-02 08:00"), 0, 1),
    ]


def test_domains_can_be_called_internal(database: Database) -> None:
    _correspondence(database)
    database.configure(internal_domains=("partner.example",))

    assert dict(database.rows("select address, is_internal from mail.contacts")) == {
        "bo@partner.example": True,
        "cy@example.com": True,
    }


def test_hashed_domains_of_ones_own_are_internal_as_well(database: Database) -> None:
    addresses = ["h1@own.hash", "h2@named.hash", "h3@other.hash"]
    database.configure(internal_domains=("named.example",))
    write_hashed_domains(
        database.connection,
        {"example.com": "own.hash", "named.example": "named.hash", "elsewhere.example": "other.hash"},
    )
    database.load(
        message_states=[database.state("m1")],
        messages=[database.message("m1")],
        message_recipients=[
            database.recipient("m1", "to", address, position=position) for position, address in enumerate(addresses)
        ],
    )
    database.build()

    assert dict(database.rows("select address, is_internal from mail.contacts")) == {
        "h1@own.hash": True,
        "h2@named.hash": True,
        "h3@other.hash": False,
    }


def test_recipients_have_the_name_and_the_group_of_their_header(database: Database) -> None:
    database.load(
        message_states=[database.state("m1")],
        messages=[database.message("m1")],
        message_recipients=[
            database.recipient("m1", "to", "bo@partner.example", name="Bo Oak", group_name="Team"),
            database.recipient("m1", "cc", "cy@partner.example"),
        ],
    )
    database.build()

    assert database.rows("select kind, name, group_name from mail.recipients order by kind") == [
        ("cc", "", ""),
        ("to", "Bo Oak", "Team"),
    ]


def test_people_at_gmail_are_not_internal_to_an_account_at_gmail(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", account_id="ada@gmail.com")],
        messages=[database.message("m1", account_id="ada@gmail.com")],
        message_recipients=[database.recipient("m1", "from", "bo@gmail.com", account_id="ada@gmail.com")],
    )
    database.build()

    assert database.rows("select address, is_internal from mail.contacts") == [("bo@gmail.com", False)]


def test_only_ten_names_are_listed_and_all_are_counted(database: Database) -> None:
    database.load(
        message_states=[database.state(f"m{number:02}") for number in range(12)],
        messages=[database.message(f"m{number:02}") for number in range(12)],
        message_recipients=[
            database.recipient(f"m{number:02}", "from", "no-reply@hub.example", name=f"Person {number:02}")
            for number in range(12)
        ],
    )
    database.build()

    [(name, names, count)] = database.rows("select name, names, name_count from mail.contacts")
    assert (name, count) == ("Person 00", 12)
    assert names == "; ".join(f"Person {number:02}" for number in range(10))
