"""The splitter and the standard library's parser agree on the structure of ordinary mail.

Both read the same bytes into parts: number and type of each, header names and values, decoded content. The standard
library is the tolerant and slow one of the two, and shares no code with ours below the transfer encodings.
"""

from __future__ import annotations

import email
import re
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mail_ingest.mime.structure import Part, Splitter
from mail_ingest.mime.transfer import decode_transfer
from mail_ingest_tests.mime.public_mail import needs_public_mail, real_messages

Node = tuple[str, str, list[tuple[str, str]], bytes | None]

# Real messages on which the two differ, and why ours is kept.
UNCLOSED = "the last part never closes: its last line end is kept, the standard library drops it"
KNOWN = {
    "sa-easy-ham-2/01311.b6a06b3e24130a32172b4c5225a1d5a6": "a delivery report is one attachment, not a list of messages",
    "sa-spam-2-third/00009.1e1a8cb4b57532ab38aa23287523659d": UNCLOSED,
    "sa-spam-2-third/00714.cd13d8db12cc1f661d6b2eb6fcbb5156": UNCLOSED,
    "sa-spam-2-third/00204.4cf15f97b8ea08bfafab7d5091b8fbe7": "a Content-Type without its semicolon is repaired",
}


def ours(part: Part) -> Iterator[Node]:
    fields = [(name, value) for name, (_, value) in zip(part.headers.names, part.headers.fields, strict=True)]
    content = None
    if not part.children:
        content = decode_transfer(part.source[part.start : part.end], part.encoding, set())
    yield part.part_id, part.content_type, fields, content
    for child in part.children:
        yield from ours(child)


def theirs(message: Message[Any, Any], part_id: str = "") -> Iterator[Node]:
    kind = message.get_content_type()
    fields = [(name.lower(), re.sub(r"\r?\n", "", str(value)).strip()) for name, value in message.raw_items()]
    payload = message.get_payload()
    if message.is_multipart() and kind.startswith(("multipart/", "message/rfc822")):
        yield part_id, kind, fields, None
        for number, child in enumerate(payload):
            yield from theirs(child, f"{part_id}.{number}" if part_id else str(number))
    else:
        content = message.get_payload(decode=True)
        yield part_id, kind, fields, content if isinstance(content, bytes) else b""


def differences(raw: bytes) -> list[str]:
    """In what the two readings differ, without a word of the message."""
    found = list(ours(Splitter(raw, set()).split()))
    if re.match(rb"From [^:\s]*\s", raw):
        raw = raw.partition(b"\n")[2]
    other = list(theirs(email.message_from_bytes(raw)))
    if [node[:2] for node in found] != [node[:2] for node in other]:
        return ["parts"]
    out = []
    for (part_id, _, fields, content), (_, _, other_fields, other_content) in zip(found, other, strict=True):
        # Raw 8-bit values are beyond the standard library, which escapes them.
        ascii_only = [(name, value) for name, value in fields if value.isascii()]
        if [name for name, _ in fields] != [name for name, _ in other_fields]:
            out.append(f"header names of part {part_id!r}")
        elif not set(ascii_only) <= set(other_fields):
            out.append(f"header values of part {part_id!r}")
        if content != other_content:
            out.append(f"content of part {part_id!r}")
    return out


@needs_public_mail
def test_real_mail_is_split_as_the_standard_library_splits_it(record_property):
    disagreed = {}
    total = 0
    for name, raw in real_messages():
        total += 1
        if found := differences(raw):
            disagreed[name] = found

    record_property("figure", f"second opinion: {total - len(disagreed)} of {total} real messages split alike")
    assert total == 3013
    assert sorted(disagreed) == sorted(KNOWN), Counter(str(each) for each in disagreed.values())


@needs_public_mail
def test_real_mail_with_crlf_is_split_alike():
    disagreed = [
        name
        for name, raw in real_messages()
        if name not in KNOWN and b"\r" not in raw and differences(raw.replace(b"\n", b"\r\n"))
    ]

    assert disagreed == []


token = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=10)
line = st.text(st.characters(codec="ascii", exclude_characters="\r\n", min_codepoint=32), max_size=60)
lines = st.lists(line, max_size=6)
values = st.lists(line.map(str.strip).filter(bool), min_size=1, max_size=3)
kinds = st.sampled_from(["text/plain", "text/html; charset=utf-8", "application/pdf", "image/png; name=a.png"])
encodings = st.sampled_from(["", "7bit", "base64", "quoted-printable"])


def fields_of(pairs: list[tuple[str, list[str]]]) -> str:
    return "".join(f"X-{name}: {chr(10).join(' ' + each for each in value).strip()}\n" for name, value in pairs)


@st.composite
def leaves(draw: st.DrawFn) -> str:
    encoding = draw(encodings)
    body = "\n".join(draw(lines))
    if encoding == "base64":
        body = "aGVsbG8gd29ybGQ=\n"
    elif encoding == "quoted-printable":
        body = body.replace("=", "=3D")
    head = f"Content-Type: {draw(kinds)}\n" + fields_of(draw(st.lists(st.tuples(token, values), max_size=3)))
    return head + (f"Content-Transfer-Encoding: {encoding}\n" if encoding else "") + "\n" + body


Tree = str | tuple[str, str, str, list["Tree"]]


def containers(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.tuples(
        st.sampled_from(["mixed", "alternative", "related"]),
        st.sampled_from(["", "This is MIME.\n"]),
        st.sampled_from(["", "\n", "after\n"]),
        st.lists(children, min_size=1, max_size=4),
    )


def written(tree: Tree, path: str = "0") -> str:
    """A tree of parts as text; each multipart has a boundary of its own, which that of its first child begins with."""
    if isinstance(tree, str):
        return tree
    kind, preamble, epilogue, children = tree
    mark = f"--=_{path}"
    parts = "".join(f"{mark}\n{written(child, f'{path}{number}')}\n" for number, child in enumerate(children))
    return f'Content-Type: multipart/{kind}; boundary="{mark[2:]}"\n\n{preamble}{parts}{mark}--\n{epilogue}'


@st.composite
def whole_messages(draw: st.DrawFn) -> bytes:
    pairs = draw(st.lists(st.tuples(token, values), min_size=1, max_size=6))
    tree = draw(st.recursive(leaves(), containers, max_leaves=6))
    raw = (fields_of(pairs) + "MIME-Version: 1.0\n" + written(tree)).encode()
    return raw.replace(b"\n", b"\r\n") if draw(st.booleans()) else raw


@settings(max_examples=200, deadline=None)
@given(whole_messages())
def test_generated_mail_is_split_as_the_standard_library_splits_it(raw):
    assert differences(raw) == []
