"""Agreement with the structures and decoded bodies that Apache James mime4j expects of its difficult messages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from mail_ingest.mime.structure import Part, Splitter
from mail_ingest.mime.transfer import decode_transfer
from mail_ingest_tests.mime.public_mail import needs_public_mail, suite

READ_AS_TEXT = "no part ever begins: the content is read as text, where mime4j drops it as a preamble"
DOUBLED = "a doubled boundary counts once, where mime4j counts an empty part"
CUT_GROUP = "the whole bytes of a last base64 group that is cut off are kept, where mime4j drops them"
KEPT_TEXT = "text right after the headers, without a blank line, is all kept, where mime4j drops lines of it"

# Every message on which we differ from mime4j, and why.
KNOWN = {
    "mimetools-testmsgs/2002_06_12_doublebound": DOUBLED,
    "mimetools-testmsgs/badbound": READ_AS_TEXT,
    "mimetools-testmsgs/double-bound": DOUBLED,
    "mimetools-testmsgs/frag": CUT_GROUP,
    "mimetools-testmsgs/hdr-fakeout": KEPT_TEXT,
    "mimetools-testmsgs/multi-frag": CUT_GROUP,
    "testmsgs/basic-plain-with-bad-header-separator": KEPT_TEXT,
    "testmsgs/malformedHeader-nocrlfcrlf": KEPT_TEXT,
    "testmsgs/malformedHeader-noheader": KEPT_TEXT,
    "testmsgs/malformedHeaderStartsBody-nocrlfcrlf": KEPT_TEXT,
    "testmsgs/malformedHeaderStartsBody-noheader": KEPT_TEXT,
    "testmsgs/missing-boundary": READ_AS_TEXT,
    "testmsgs/missing-inner-boundary": READ_AS_TEXT,
    "testmsgs/missing-inner-start-boundary": READ_AS_TEXT,
    "testmsgs/multipartemptypart": DOUBLED,
    "testmsgs/multipartnopart": READ_AS_TEXT,
}


@dataclass
class Expected:
    kind: str
    fields: list[tuple[str, str]]
    body: str = ""
    """Name of the file that holds the decoded body of a leaf."""
    children: list[Expected] = field(default_factory=list)


def expected(element: ET.Element) -> Expected:
    fields = []
    for each in element.iterfind("header/field"):
        name, _, value = re.sub(r"\r?\n", "", (each.text or "").lstrip("\r\n")).partition(":")
        fields.append((name.strip().lower(), value.strip()))
    if (multipart := element.find("multipart")) is not None:
        return Expected("multipart", fields, children=[expected(each) for each in multipart.iterfind("body-part")])
    if (message := element.find("message")) is not None:
        return Expected("message", fields, children=[expected(message)])
    body = next(each for each in element if each.tag in ("text-body", "binary-body"))
    return Expected("leaf", fields, body.get("name", ""))


def differences(wanted: Expected, part: Part, folder: str, files: dict[str, bytes]) -> list[str]:
    kind = "leaf" if not part.children else "multipart" if part.is_multipart else "message"
    if wanted.kind == "multipart" and part.is_multipart:
        kind = "multipart"
    if (kind, len(part.children)) != (wanted.kind, len(wanted.children)):
        return [f"part {part.part_id!r}: {kind} of {len(part.children)}, not {wanted.kind} of {len(wanted.children)}"]
    out = []
    found = [(name, value) for name, (_, value) in zip(part.headers.names, part.headers.fields, strict=True)]
    if found != wanted.fields:
        out.append(f"part {part.part_id!r}: headers")
    if kind == "leaf":
        content = decode_transfer(part.source[part.start : part.end], part.encoding, set())
        # The files of expected text have been written with either line end.
        if content.replace(b"\r\n", b"\n") != files[f"{folder}/{wanted.body}"].replace(b"\r\n", b"\n"):
            out.append(f"part {part.part_id!r}: content")
    for child, inner in zip(wanted.children, part.children, strict=True):
        out += differences(child, inner, folder, files)
    return out


@needs_public_mail
def test_structures_and_bodies_are_those_mime4j_expects(record_property):
    files = suite("mime4j")
    disagreed = {}
    parts = 0

    for path in sorted(files):
        if not path.endswith("_decoded.xml"):
            continue
        name = path.removesuffix("_decoded.xml")
        root = Splitter(files[f"{name}.msg"], set()).split()
        # Some expectations hold control characters that XML does not allow.
        xml = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "?", files[path].decode("latin-1"))
        wanted = expected(ET.fromstring(xml))
        parts += xml.count("-body name=")
        if found := differences(wanted, root, name.rpartition("/")[0], files):
            disagreed[name.partition("/")[2]] = found

    total = sum(path.endswith("_decoded.xml") for path in files)
    record_property("figure", f"mime4j: {total - len(disagreed)} of {total} structures agree ({parts} bodies expected)")
    assert total == 80
    assert sorted(disagreed) == sorted(KNOWN)
