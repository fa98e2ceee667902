"""What fuzzing begins with: made here, a few kilobytes, nothing of anybody's mail."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import strategies as st

from mail_ingest_tests.fuzz.targets import KINDS, MESSAGE_ID
from mail_ingest_tests.mime.builders import attachment, message, multipart, part
from mail_ingest_tests.mime.pieces import PIECES, messages

_MESSAGE = {
    "id": MESSAGE_ID, "threadId": MESSAGE_ID, "labelIds": ["INBOX", "Label_1"], "snippet": "Hello", "historyId": "12",
    "internalDate": "1700000000000", "sizeEstimate": 100, "raw": base64.urlsafe_b64encode(message()).decode(),
}  # fmt: skip
_LABEL = {
    "id": "Label_1", "name": "Bills", "type": "user", "messagesTotal": 3, "messagesUnread": 1, "threadsTotal": 2,
    "threadsUnread": 1, "color": {"textColor": "#000000", "backgroundColor": "#ffffff"},
}  # fmt: skip
_REF = {"id": MESSAGE_ID, "threadId": MESSAGE_ID}
_CHANGE = {"message": {**_REF, "labelIds": ["INBOX"]}, "labelIds": ["STARRED"]}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "profile": {"emailAddress": "ada@example.com", "messagesTotal": 3, "threadsTotal": 2, "historyId": "12"},
    "labels": {"labels": [_LABEL, {"id": "INBOX", "name": "INBOX", "type": "system"}]},
    "label": _LABEL,
    "ids": {"messages": [_REF, {"id": "18f2", "threadId": "18f2"}], "nextPageToken": "next", "resultSizeEstimate": 2},
    "history": {
        "historyId": "15",
        "history": [
            {"id": "13", "messages": [_REF], "messagesAdded": [{"message": _REF}], "labelsAdded": [_CHANGE]},
            {"id": "14", "labelsRemoved": [_CHANGE], "messagesDeleted": [{"message": _REF}]},
        ],
    },
    "state": _MESSAGE,
    "raw": _MESSAGE,
    "refusal": {
        "error": {
            "code": 429, "message": "User-rate limit exceeded. Retry after 2026-11-27T10:00:00.000Z",
            "errors": [{"reason": "rateLimitExceeded", "domain": "usageLimits"}],
            "details": [{"metadata": {"window_start_time": "1790000000", "quota_unit": "1/min/{project}/{user}"}}],
        }
    },
    "people": {"users": [{"primaryEmail": "ada@example.com", "orgUnitPath": "/Sales", "suspended": False}]},
    "reason": {"error": {"status": "PERMISSION_DENIED", "errors": [{"reason": "forbidden"}]}},
}  # fmt: skip


def seeds(target: str) -> Iterator[bytes]:
    """The first inputs of a target."""
    if target == "answers":
        for number, kind in enumerate(KINDS):
            header = b"120\n" if kind == "refusal" else b""
            yield bytes([number]) + header + orjson.dumps(DOCUMENTS[kind])
        return
    yield message()
    yield message("Grüße\n".encode(), "Content-Type: text/plain; charset=utf-8", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    yield part("text/plain; charset=iso-2022-jp", b"\x1b$B$3\x1b(B", 'To: a <a@b.example>, "c, d" <e@f.example>;')
    yield part("text/html", b"<table><tr><td>x<blockquote>y</table><script>z</script>&amp;&#0;")
    yield multipart(
        "mixed", [part("text/plain", b"QUJD", "Content-Transfer-Encoding: base64"), attachment("a.pdf", b"x")]
    )
    yield multipart("alternative", [part("text/plain", b"=C3=A9=\n", "Content-Transfer-Encoding: quoted-printable"),
                                    part("message/rfc822", message())])  # fmt: skip
    yield multipart("digest", [message(), part("application/x; name*0*=utf-8''%C3; name*1=x", b"begin 644 x\nend\n",
                                               "Content-Transfer-Encoding: x-uuencode")])  # fmt: skip


def dictionary(target: str) -> list[bytes]:
    """Words that inputs are made of."""
    if target == "mime":
        return PIECES
    names: set[str] = set()
    for value in DOCUMENTS.values():
        names |= set(_names(value))
    return [f'"{name}":'.encode() for name in sorted(names)] + [
        b"null",
        b"1e400",
        b"[",
        b"{",
        b'"\\u0000"',
        b"-1",
        b"9" * 20,
    ]


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def inputs(target: str) -> st.SearchStrategy[bytes]:
    """The same as hypothesis draws it: pieces of mail; documents of which some values are others."""
    if target == "mime":
        return messages
    return st.sampled_from(range(len(KINDS))).flatmap(
        lambda number: st.builds(
            lambda header, document: bytes([number]) + header + orjson.dumps(document),
            st.sampled_from([b"", b"120\n", b"Fri, 31 Dec 9999 23:59:59 GMT\n"])
            if KINDS[number] == "refusal"
            else st.just(b""),
            _like(DOCUMENTS[KINDS[number]]),
        )
    )


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20).filter(
        lambda text: not any("\ud800" <= character <= "\udfff" for character in text)
    ) | st.sampled_from(["", "0", "-1", "9" * 30, "INBOX", MESSAGE_ID, "a\x00b", "²"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "labelIds", "message", "x"]), inner),
    max_leaves=8,
)  # fmt: skip


def _like(value: Any) -> st.SearchStrategy[Any]:
    """Values of the shape of one, with fields missing, added, or of any other kind."""
    same: st.SearchStrategy[Any] = st.just(value)
    if isinstance(value, dict):
        same = st.fixed_dictionaries(
            {}, optional={**{name: _like(inner) for name, inner in value.items()}, "unknown": _ANY}
        )
    elif isinstance(value, list):
        same = st.lists(st.one_of(*[_like(inner) for inner in value]), max_size=4)
    return st.one_of(same, same, same, _ANY)
