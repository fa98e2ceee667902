"""The tree of parts: how it is numbered, cut, and bounded."""

from __future__ import annotations

import base64

from mail_ingest.mime import parse
from mail_ingest.mime.structure import MAX_DEPTH, MAX_PARTS, Part, Splitter
from mail_ingest_tests.mime.builders import attachment, message, multipart, part


def tree(raw: bytes) -> tuple[list[tuple[str, str]], set[str]]:
    defects: set = set()
    found: list[tuple[str, str]] = []

    def walk(node: Part) -> None:
        found.append((node.part_id, node.content_type))
        for child in node.children:
            walk(child)

    walk(Splitter(raw, defects).split())
    return found, defects


def bodies(raw: bytes) -> list[bytes]:
    root = Splitter(raw, set()).split()
    return [child.source[child.start : child.end] for child in root.children]


def test_parts_are_numbered_as_gmail_numbers_them():
    inner = multipart("alternative", [part("text/plain", b"a"), part("text/html", b"b")], boundary="=-inner")
    raw = multipart("mixed", [inner, attachment("a.pdf", b"x")])

    assert tree(raw) == (
        [
            ("", "multipart/mixed"),
            ("0", "multipart/alternative"),
            ("0.0", "text/plain"),
            ("0.1", "text/html"),
            ("1", "application/pdf"),
        ],
        set(),
    )
    assert tree(message(b"body"))[0] == [("", "text/plain")]


def test_an_attached_message_is_opened_below_its_part():
    inner = multipart("mixed", [part("text/plain", b"a"), attachment("a.pdf", b"x")], boundary="=-inner")
    raw = multipart("mixed", [part("text/plain", b"see"), part("message/rfc822", inner)])

    assert [part_id for part_id, _ in tree(raw)[0]] == ["", "0", "1", "1.0", "1.0.0", "1.0.1"]


def test_the_line_end_before_a_boundary_belongs_to_the_boundary():
    for line_end in (b"\n", b"\r\n"):
        raw = (
            b"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n\n--b\n\ntwo\n--b--\nepilogue\n"
        ).replace(b"\n", line_end)
        assert bodies(raw) == [b"one" + line_end, b"two"]


def test_boundaries_count_at_the_start_of_a_line_only():
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee --b\n--bc\n --b\n--b--x\n--b--\n"

    assert bodies(raw) == [b"see --b\n--bc\n --b\n--b--x"]


def test_white_space_and_more_may_follow_a_boundary():
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\none\n--b ignored\n\ntwo\n--b-- ignored\nthree"

    assert bodies(raw) == [b"one", b"two"]


def test_a_doubled_boundary_counts_once():
    assert bodies(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\none\n--b\n--b--\n") == [b"one"]


def test_inner_and_outer_boundaries_may_begin_alike():
    inner = multipart("alternative", [part("text/plain", b"a"), part("text/html", b"b")], boundary="bb")
    raw = multipart("mixed", [inner, part("text/plain", b"c")], boundary="b")

    assert [kind for _, kind in tree(raw)[0]] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/plain",
    ]


def test_an_outer_boundary_ends_an_inner_multipart_that_never_closes():
    inner = b"Content-Type: multipart/alternative; boundary=inner\n\n--inner\n\none"
    raw = multipart("mixed", [inner, part("text/plain", b"two")])

    assert tree(raw) == (
        [("", "multipart/mixed"), ("0", "multipart/alternative"), ("0.0", "text/plain"), ("1", "text/plain")],
        {"missing-close-boundary"},
    )


def test_a_message_cut_off_keeps_what_is_there():
    raw = multipart("mixed", [part("text/plain", b"one"), part("text/plain", b"two and more")])

    parsed = parse(raw[: raw.index(b" and more")])

    assert parsed.body_text == "one\ntwo"
    assert parsed.defects == ("missing-close-boundary",)


def test_a_multipart_without_its_boundary_is_read_as_text():
    named = parse(b"Content-Type: multipart/mixed; boundary=b\n\nplain words\n")
    unnamed = parse(b"Content-Type: multipart/mixed\n\nplain words\n")
    only_closed = parse(b"Content-Type: multipart/mixed; boundary=b\n\nplain words\n--b--\n")

    assert (named.body_text, named.defects) == ("plain words\n", ("boundary-not-found",))
    assert (unnamed.body_text, unnamed.defects) == ("plain words\n", ("missing-boundary",))
    assert (only_closed.body_text, only_closed.defects) == ("plain words\n--b--\n", ("boundary-not-found",))


def test_a_multipart_without_parts_has_no_body():
    parsed = parse(b"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n--b--\n")

    assert (parsed.body_text, parsed.attachments, parsed.defects) == (None, (), ())


def test_a_multipart_that_is_encoded_as_a_whole_is_decoded():
    inner = b"--b\n\none\n--b\n\ntwo\n--b--\n"
    raw = message(
        base64.encodebytes(inner), "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: base64"
    )

    parsed = parse(raw)

    assert (parsed.body_text, parsed.defects) == ("one\ntwo", ("encoded-multipart",))


def test_parts_of_a_digest_are_messages_by_default():
    raw = multipart("digest", [b"\nSubject: one\n\nfirst", b"\nSubject: two\n\nsecond"])

    parsed = parse(raw)

    assert [(each.content_type, each.subject) for each in parsed.attachments] == [
        ("message/rfc822", "one"),
        ("message/rfc822", "two"),
    ]


def test_boundaries_may_end_in_a_space():
    raw = b'Content-Type: multipart/mixed; boundary="b "\n\n--b \n\none\n--b\nstill\n--b --\n'

    assert bodies(raw) == [b"one\n--b\nstill"]
    assert bodies(raw.replace(b"--b ", b"--b").replace(b"--b\nstill", b"")) == [b"one\n"]


def nested(levels: int) -> bytes:
    raw = part("text/plain", b"deep")
    for level in range(levels):
        raw = multipart("mixed", [raw], boundary=f"level{level}")
    return raw


def test_nesting_is_followed_to_the_cap_and_no_further():
    within, within_defects = tree(nested(MAX_DEPTH))
    beyond, beyond_defects = tree(nested(MAX_DEPTH + 1))

    assert (len(within), within[-1][1], within_defects) == (MAX_DEPTH + 1, "text/plain", set())
    assert (len(beyond), beyond[-1][1]) == (MAX_DEPTH + 1, "application/octet-stream")
    assert beyond_defects == {"nesting-too-deep"}
    assert parse(nested(MAX_DEPTH + 1)).attachments[0].size_bytes > 0


def test_parts_past_the_cap_are_dropped():
    raw = multipart("mixed", [b"\nx"] * (MAX_PARTS + 10))

    found, defects = tree(raw)

    assert len(found) == MAX_PARTS
    assert defects == {"too-many-parts"}


def test_messages_in_messages_are_opened_within_a_budget_of_bytes():
    raw = message(b"x" * 10_000)
    for _ in range(20):
        raw = part("message/rfc822", raw)

    parsed = parse(raw)

    assert 2 <= len(parsed.attachments) <= 5
    assert sum(each.size_bytes for each in parsed.attachments) <= 5 * len(raw)
    assert "nesting-too-deep" in parsed.defects
