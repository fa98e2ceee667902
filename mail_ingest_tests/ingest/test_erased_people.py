"""Which spellings of an address are found in texts and mail, what stands there afterwards, and what is left alone."""

from __future__ import annotations

import base64
import time

import pytest

from mail_ingest.ingest.erasing.evidence import Evidence, Search
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest_tests.mime.builders import attachment, message, multipart, part

JANE = "jane@example.com"
PEOPLE = ErasedPeople(JANE.__eq__)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to jane@example.com.", "write to [erased]."),
        ("JANE@Example.COM", "[erased]"),
        ("On Monday, Jane Doe <jane@example.com> wrote:", "On Monday, [erased] wrote:"),
        ('"Doe, Jane" <jane@example.com>, Bob <bob@x.org>', "[erased], Bob <bob@x.org>"),
        ("Jane Doe &lt;jane&#64;example.com&gt; wrote", "[erased] wrote"),
        ('<a href="mailto:jane@example.com?subject=x">', '<a href="mailto:[erased]?subject=x">'),
        ("https://x.org/u?to=jane%40example.com&id=1", "https://x.org/u?to=[erased]&id=1"),
        ("bounce+jane=example.com@lists.example.org", "bounce+[erased]@lists.example.org"),
        ("spf=pass smtp.mailfrom=jane@example.com;", "spf=pass smtp.mailfrom=[erased];"),
        ("'jane@example.com',jane@example.com", "'[erased]',[erased]"),
    ],
)
def test_an_address_is_found_as_texts_write_it(text: str, left: str) -> None:
    assert PEOPLE.mentioned_in(text)
    assert PEOPLE.without(text) == left
    assert not PEOPLE.mentioned_in(left)


@pytest.mark.parametrize(
    "text",
    [
        "mary.jane@example.com",
        "jane@example.com.au",
        "jane@example.company",
        "jane+news@example.com",
        "j.ane@example.com",
        "xjane@example.com",
        "jane at example.com",
    ],
)
def test_other_addresses_stay(text: str) -> None:
    assert not PEOPLE.mentioned_in(text)
    assert PEOPLE.without(text) == text


def test_mail_is_read_as_it_is_encoded() -> None:
    html = base64.encodebytes(b"<a href='mailto:jane@example.com'>her</a>")
    encoded = part("text/html; charset=utf-8", html, "Content-Transfer-Encoding: base64")
    folded = part("text/plain", b"Ask jane@exam=\nple.com.", "Content-Transfer-Encoding: quoted-printable")
    wide = part(
        "text/plain; charset=utf-16",
        base64.encodebytes("jane@example.com".encode("utf-16")),
        "Content-Transfer-Encoding: base64",
    )
    word = message(b"x", "From: bob@x.org", f"Subject: =?utf-8?b?{base64.b64encode(JANE.encode()).decode()}?=")
    invite = multipart(
        "mixed", [part("text/plain", b"x"), attachment("a.ics", b"ATTENDEE:mailto:jane@example.com", "text/calendar")]
    )
    forwarded = multipart("mixed", [part("text/plain", b"x"), part("message/rfc822", encoded)], boundary="outer")

    for raw in (encoded, folded, wide, word, invite, forwarded):
        assert PEOPLE.mentioned_in_mail(raw), raw[:80]
    assert not PEOPLE.mentioned_in_mail(message(b"mary.jane@example.com"))


def test_who_wrote_mail_is_told_by_its_authors() -> None:
    assert PEOPLE.wrote_mail(message(b"x", "From: Jane <Jane@Example.com>", "To: bob@x.org"))
    assert not PEOPLE.wrote_mail(
        message(b"x", "From: bob@x.org", "Reply-To: jane@example.com", "Sender: jane@example.com")
    )


def test_texts_without_spaces_cost_no_more_than_others() -> None:
    text = "a" * 2_000_000 + "=b.c" * 20_000 + "@" * 20_000
    began = time.process_time()

    PEOPLE.mentioned_in(text)

    assert time.process_time() - began < 5


def test_the_search_finds_what_is_left_and_tells_longer_addresses_apart() -> None:
    evidence = Evidence("seed", PEOPLE, [JANE])
    evidence.note_texts(["Behind the third pot from the left", "Hi", "x" * 40])
    evidence.settle()
    search = Search(evidence)

    search.values("table", b"mary.jane@example.com\nbob\n")
    assert (search.strings, dict(search.found)) == (2, {})
    search.values("table", b"a\nJane@Example.com\nbehind the THIRD pot from the left\n")
    assert search.found == {"table": 2}


def test_files_hold_values_side_by_side_and_in_pieces(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    from mail_ingest.ingest.erasing import evidence as module

    monkeypatch.setattr(module, "_PIECE", 2_048)
    evidence = Evidence("seed", PEOPLE, [JANE])
    evidence.settle()
    search = Search(evidence)
    search.values("table", b"mary.jane@example.com\n")
    path = Path(str(tmp_path)) / "file"

    path.write_bytes(b"bob" + b"mary.jane@example.com" + b"x")
    search.file("harmless", path)
    assert dict(search.found) == {}
    path.write_bytes(b"\0" * 2_040 + b"bobjane@example.comx" + b"\0" * 3_000)
    search.file("harmful", path)
    assert dict(search.found) == {"harmful": 1}
    assert search.bytes == len(b"mary.jane@example.com\n") + 25 + 2_040 + 20 + 3_000


def test_strings_that_stand_in_what_stays_are_left_out() -> None:
    evidence = Evidence("seed")
    evidence.note_texts(["Behind the third pot from the left", "Could you water the cactus for me"])
    evidence.settle()

    evidence.stays(b"> could you water the CACTUS for me?")

    assert evidence.strings() == ["Behind the third pot from the left"]
