"""Every column of every landing table has its treatment, in the code and on the page, and rows come out accordingly."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from mail_ingest.privacy import Hasher, Policy, PrivateRows, Tier, derive_key
from mail_ingest.privacy.columns import COLUMNS, MEANINGS, NO_ROWS
from mail_ingest.sources.tables import LANDING_TABLES

KEY = derive_key(b"s" * 32)
NAMES = {table.name: tuple(column.name for column in table.columns) for table in LANDING_TABLES}
PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
STRICT: tuple[Tier, ...] = ("redacted", "headers", "hashed")
ME = "ada@example.com"


def test_no_column_is_forgotten() -> None:
    assert {table: set(columns) for table, columns in COLUMNS.items()} == {
        table: set(names) for table, names in NAMES.items()
    }


def test_the_page_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)

    assert {(table, column): tuple(cell.strip() for cell in cells) for table, column, *cells in rows} == {
        (table, column): tuple(
            "no row" if table in NO_ROWS[tier] else MEANINGS[treatments.under(tier)] for tier in STRICT
        )
        for table, columns in COLUMNS.items()
        for column, treatments in columns.items()
        if any(treatments.under(tier) != "keep" or table in NO_ROWS[tier] for tier in STRICT)
    }


def _row(table: str, **values: object) -> tuple[object, ...]:
    known = {"account_id": ME, "message_id": "18c0000000000001", **values}
    return tuple(known.get(name) for name in NAMES[table])


def _message(**values: object) -> dict[str, list[tuple[object, ...]]]:
    message = {
        "subject": "Call 415-555-2671",
        "from_address": "Jane@Other.example",
        "from_name": "Jane Doe",
        "rfc822_message_id": "<one@other.example>",
        "in_reply_to": "<two@example.com>",
        "reference_ids": '["<three@example.com>","<two@example.com>"]',
        "snippet": "I am at jane@other.example, or under +1 415 55",
        "body_text": "I am at jane@other.example, ada@example.com knows",
        "delivered_to": ME,
        "return_path": "<bounce+ada=example.com@other.example>",
        "list_unsubscribe": "<mailto:off@other.example>, <https://other.example/u?u=ada>",
        "authentication_results": "mx.example; spf=pass smtp.mailfrom=jane@other.example; dkim=fail",
        "headers": '[["Subject","Call 415-555-2671"],["X-Of","\\"jane d\\"@other.example"]]',
        "attachment_count": 1,
        "sha256": "ab" * 32,
        "raw_pack": "ada/pack.parquet",
        "privacy": "full",
        **values,
    }
    return {
        "messages": [_row("messages", **message)],
        "message_recipients": [
            _row("message_recipients", kind="from", position=0, name="Jane Doe", address="Jane@Other.example"),
            _row("message_recipients", kind="to", position=0, name="Ada", address="Ada@Example.com"),
        ],
        "attachments": [
            _row(
                "attachments", part_id="1", file_name="CV of Jane 415-555-2671.PDF", sha256="cd" * 32, content_id="a@b"
            )
        ],
        "message_html": [_row("message_html", body_html="<p>415-555-2671</p>")],
    }


def _made(policy: Policy, rows: dict[str, list[tuple[object, ...]]]) -> dict[str, list[dict[str, object]]]:
    made = PrivateRows(policy, NAMES).message(rows)
    assert not isinstance(made, str)
    return {table: [dict(zip(NAMES[table], row, strict=True)) for row in its_rows] for table, its_rows in made.items()}


def test_the_tier_full_changes_nothing() -> None:
    rows = _message()

    assert PrivateRows(Policy(), NAMES).message(rows) == rows


def test_redacted_mail_keeps_its_headers_and_loses_what_bodies_say() -> None:
    made = _made(Policy("redacted"), _message())
    [message] = made["messages"]

    assert message["subject"] == "Call [phone]"
    assert message["body_text"] == "I am at [email], [email] knows"
    assert message["snippet"] == "I am at [email], or under", "a number may be cut off at the end of a snippet"
    assert (message["from_address"], message["from_name"]) == ("Jane@Other.example", "Jane Doe")
    assert orjson.loads(str(message["headers"])) == [["Subject", "Call [phone]"], ["X-Of", "[email]"]]
    assert (message["raw_pack"], message["privacy"]) == (None, "redacted")
    assert made["attachments"][0]["file_name"] == "CV of Jane [phone].PDF"
    assert made["message_html"] == []


def test_headers_alone_have_no_body_and_no_attachments() -> None:
    made = _made(Policy("headers"), _message())
    [message] = made["messages"]

    assert (message["subject"], message["from_address"]) == ("Call 415-555-2671", "Jane@Other.example")
    assert [message[name] for name in ("body_text", "snippet", "sha256", "raw_pack", "attachment_count")] == [None] * 5
    assert made["attachments"] == made["message_html"] == []
    assert len(made["message_recipients"]) == 2


def test_hashed_mail_joins_and_names_nobody() -> None:
    hasher = Hasher(KEY)
    jane = hasher.address("jane@other.example")
    made = _made(Policy("hashed", hash_key=KEY), _message())
    [message] = made["messages"]

    assert message["from_address"] == jane
    assert message["from_name"] is None
    assert message["body_text"] == f"I am at {jane}, ada@example.com knows"
    assert message["in_reply_to"] in orjson.loads(str(message["reference_ids"]))
    assert message["delivered_to"] == ME, "the account's own address is no secret: it is the key of the row"
    assert message["list_unsubscribe"] == "mailto, https"
    assert message["authentication_results"] == "spf=pass; dkim=fail"
    assert message["sha256"] != "ab" * 32
    assert [(row["address"], row["name"]) for row in made["message_recipients"]] == [
        (jane, ""),
        ("Ada@Example.com", ""),
    ]
    assert made["attachments"][0]["file_name"] == ".pdf"
    assert "other.example" not in repr(made)


@pytest.mark.parametrize("tier", STRICT)
@pytest.mark.parametrize("attachments", [True, False])
def test_applying_a_policy_twice_changes_nothing(tier: Tier, attachments: bool) -> None:
    rows = PrivateRows(Policy(tier, attachments=attachments, hash_key=KEY), NAMES)

    once = rows.message(_message())

    assert not isinstance(once, str)
    assert rows.message(once) == once


def test_without_attachments_their_number_stays_and_nothing_else() -> None:
    made = _made(Policy(attachments=False), _message())

    assert made["attachments"] == []
    assert made["messages"][0]["attachment_count"] == 1
    assert (made["messages"][0]["privacy"], made["messages"][0]["raw_pack"]) == ("full without attachments", None)


@pytest.mark.parametrize("tier", ["full", *STRICT])
def test_sign_in_mail_is_left_out_in_every_tier(tier: Tier) -> None:
    rows = PrivateRows(Policy(tier, sign_in_mail=False, hash_key=KEY), NAMES)

    assert (
        rows.message(_message(subject="Your verification code", body_text="493027", in_reply_to=None)) == "sign-in code"
    )
    # of stored rows, and of headers alone, the preview is all there is
    for body in (None, ""):
        known = _message(subject="Your verification code", body_text=body, snippet="Use [code]", in_reply_to=None)
        assert rows.message(known) == "sign-in code"
    assert not isinstance(rows.message(_message()), str)


def test_names_of_labels_lose_addresses_in_the_tier_hashed() -> None:
    row = _row("labels", label_id="Label_1", name="Clients/jane@other.example")

    hashed = PrivateRows(Policy("hashed", hash_key=KEY), NAMES).row("labels", row)

    assert "other.example" not in str(hashed)
    assert hashed[2] != row[2]
    assert PrivateRows(Policy("redacted"), NAMES).row("labels", row) == row
