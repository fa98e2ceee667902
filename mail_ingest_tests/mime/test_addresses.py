"""Address headers, in the grammar and out of it."""

from __future__ import annotations

import pytest

from mail_ingest.mime import Address, parse
from mail_ingest.mime.addresses import MAX_ADDRESSES
from mail_ingest_tests.mime.builders import message


def to(value: str | bytes) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    header = b"To: " + value if isinstance(value, bytes) else f"To: {value}"
    parsed = parse(message(b"", header, "X: y"))
    return [(each.name, each.address, each.group) for each in parsed.to], parsed.defects


def one(name: str, address: str, group: str = "") -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    return [(name, address, group)], ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann@example.com", one("", "ann@example.com")),
        ("<ann@example.com>", one("", "ann@example.com")),
        ("Ann Lee <ann@example.com>", one("Ann Lee", "ann@example.com")),
        ('"Lee, Ann" <ann@example.com>', one("Lee, Ann", "ann@example.com")),
        ('"Ann \\"A\\" Lee" <ann@example.com>', one('Ann "A" Lee', "ann@example.com")),
        ("Ann Q. Lee <ann@example.com>", one("Ann Q. Lee", "ann@example.com")),
        ("ann@example.com (Ann Lee)", one("Ann Lee", "ann@example.com")),
        ("Ann (of (the) office) Lee <ann@example.com>", one("Ann Lee", "ann@example.com")),
        ("=?utf-8?q?J=C3=BCrgen?= <j@example.com>", one("Jürgen", "j@example.com")),
        ('"=?utf-8?q?J=C3=BCrgen?=" <j@example.com>', one("Jürgen", "j@example.com")),
        ("=?utf-8?q?J=C3=BC?= =?utf-8?q?rgen?= <j@example.com>", one("Jürgen", "j@example.com")),
        ("=?utf-8?q?Lee=2C_Ann?= <ann@example.com>", one("Lee, Ann", "ann@example.com")),
        ("=?utf-8?Q?Ann_=3Cann=40example=2Ecom=3E?=", one("Ann", "ann@example.com")),
        ("Ann\n  Lee\n <ann@example.com>", one("Ann Lee", "ann@example.com")),
        ("< ann@example.com >", one("", "ann@example.com")),
        ("<@relay.example,@other.example:ann@example.com>", one("", "ann@example.com")),
        ("<mailto:ann@example.com>", one("", "ann@example.com")),
        ("mailto:ann@example.com", one("", "ann@example.com")),
        ("ann@[192.0.2.1]", one("", "ann@[192.0.2.1]")),
        ("Ann <ann@[IPv6:2001:db8::1]>", one("Ann", "ann@[IPv6:2001:db8::1]")),
        ('"ann lee"@example.com', one("", "ann lee@example.com")),
        ('<"a>b"@example.com>', one("", '"a>b"@example.com')),
        ("Ann(a nice \\) friend) <ann(her account)@example.com(her host)>", one("Ann", "ann@example.com")),
        ("ann @ example.com", one("", "ann@example.com")),
        ("ann(comment)@example.com", one("comment", "ann@example.com")),
        ("Ann Lee ann@example.com", one("Ann Lee", "ann@example.com")),
        ("[List] <list@example.com>", one("[List]", "list@example.com")),
        ("jürgen@bücher.example", one("", "jürgen@bücher.example")),
        ("'Ann' <ann@example.com>", one("'Ann'", "ann@example.com")),
        ("ann@example.com,", one("", "ann@example.com")),
        (", ,ann@example.com", one("", "ann@example.com")),
        ("", ([], ())),
        (" ", ([], ())),
        ("<>", ([], ())),
    ],
)
def test_one_mailbox(value, expected):
    assert to(value) == expected


def test_several_mailboxes_keep_their_order():
    assert to('a@x.example, "B, b" <b@x.example>,C <c@x.example> , d@x.example (D)') == (
        [("", "a@x.example", ""), ("B, b", "b@x.example", ""), ("C", "c@x.example", ""), ("D", "d@x.example", "")],
        (),
    )


def test_semicolons_separate_where_people_use_them_so():
    assert to("a@x.example; B <b@x.example>;")[0] == [("", "a@x.example", ""), ("B", "b@x.example", "")]


def test_members_of_a_group_carry_its_name():
    assert to("Staff: a@x.example, B <b@x.example>;, c@x.example") == (
        [("", "a@x.example", "Staff"), ("B", "b@x.example", "Staff"), ("", "c@x.example", "")],
        (),
    )
    assert to("=?utf-8?q?B=C3=BCro?=: a@x.example;") == one("", "a@x.example", "Büro")


def test_an_empty_group_is_one_entry_of_that_name():
    assert to("undisclosed-recipients:;") == one("", "", "undisclosed-recipients")
    assert to("Undisclosed recipients: ;, a@x.example") == (
        [("", "", "Undisclosed recipients"), ("", "a@x.example", "")],
        (),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("postmaster", [("", "postmaster", "")]),
        ("Ann Lee", [("Ann Lee", "", "")]),
        ("a@x.example b@x.example", [("", "a@x.example", ""), ("", "b@x.example", "")]),
        ("Ann <ann>", [("Ann", "ann", "")]),
        ("Ann <>", [("Ann", "", "")]),
        ("Ann <ann@example.com", [("Ann", "ann@example.com", "")]),
        ('"Ann <ann@example.com>', [("Ann", "ann@example.com", "")]),
        ("Ann (open <ann@example.com>", [("open <ann@example.com>", "Ann", "")]),
        ("a@x.example: b@x.example", [("a@x.example:", "b@x.example", "")]),
    ],
)
def test_what_is_no_address_is_kept_and_noted(value, expected):
    found, defects = to(value)

    assert defects == ("bad-address",)
    if value != "a@x.example: b@x.example":
        assert found == expected
    else:
        assert [address for _, address, _ in found][-1] == "b@x.example"


def test_raw_8bit_names_are_read():
    assert to(b"J\xfcrgen <j@example.com>") == ([("Jürgen", "j@example.com", "")], ("raw-8bit-header",))
    assert to("Jürgen <j@example.com>") == one("Jürgen", "j@example.com")


def test_every_address_header_has_its_field():
    names = {"From": "from_", "Sender": "sender", "Reply-To": "reply_to", "To": "to", "Cc": "cc", "Bcc": "bcc"}

    parsed = parse(message(b"", *(f"{name}: {field} <{field}@example.com>" for name, field in names.items())))

    for field in names.values():
        assert getattr(parsed, field) == (Address(field, f"{field}@example.com"),)


def test_addresses_past_the_cap_are_dropped():
    plain = ", ".join(f"a{number}@x.example" for number in range(MAX_ADDRESSES + 5))

    for value in (plain, "Group: " + plain + ";"):
        found, defects = to(value)
        assert len(found) == MAX_ADDRESSES
        assert found[-1][1] == f"a{MAX_ADDRESSES - 1}@x.example"
        assert defects == ("too-many-addresses",)
