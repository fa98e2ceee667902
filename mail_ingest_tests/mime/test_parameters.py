"""Content-Type and Content-Disposition parameters: RFC 2231, and what is written instead of it."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest.mime.parameters import MAX_PARAMETERS, parse_parameters
from mail_ingest_tests.mime.builders import message, multipart, part


def filename(parameter: str | bytes) -> tuple[str, tuple[str, ...]]:
    raw = parameter.encode() if isinstance(parameter, str) else parameter
    header = b"Content-Disposition: attachment; " + raw
    parsed = parse(message(b"x", "Content-Type: application/pdf", header))
    return parsed.attachments[0].filename, parsed.defects


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("filename=report.pdf", "report.pdf"),
        ('filename="my report.pdf"', "my report.pdf"),
        ("filename=my report.pdf", "my report.pdf"),
        ('FileName = "a.pdf" ; size=3', "a.pdf"),
        ('filename="a;b.pdf"', "a;b.pdf"),
        ('filename="say \\"hi\\".pdf"', 'say "hi".pdf'),
        ('filename="C:\\temp\\a.pdf"', "C:\\temp\\a.pdf"),
        ('filename="never closed.pdf', "never closed.pdf"),
        ("filename*=utf-8''na%C3%AFve.pdf", "naïve.pdf"),
        ("filename*=UTF-8'en'na%C3%AFve.pdf", "naïve.pdf"),
        ("filename*=iso-8859-1''na%EFve.pdf", "naïve.pdf"),
        ("filename*0*=utf-8''na%C3; filename*1*=%AFve; filename*2=.pdf", "naïve.pdf"),
        ("filename*1=b.pdf; filename*0=a", "ab.pdf"),
        ("filename*0=a; filename*2=lost.pdf", "a"),
        ("filename=plain.pdf; filename*=utf-8''real%20name.pdf", "real name.pdf"),
        ('filename="=?utf-8?q?na=C3=AFve=2Epdf?="', "naïve.pdf"),
        ("filename==?utf-8?q?na=C3=AFve=2Epdf?=", "naïve.pdf"),
        ('filename="=?utf-8?q?na=C3?=\n =?utf-8?q?=AFve=2Epdf?="', "naïve.pdf"),
        ('filename*0="=?utf-8?q?na=C3=AFve"; filename*1="=2Epdf?="', "naïve.pdf"),
        ("filename=naïve.pdf", "naïve.pdf"),
        ("filename*=utf-8''two%0D%0Alines%00.pdf", "two lines.pdf"),
        ("filename=report (1).pdf", "report (1).pdf"),
        ("size=3", ""),
        (";;; filename=a.pdf;;", "a.pdf"),
    ],
)
def test_file_names(parameter, expected):
    name, defects = filename(parameter)

    assert name == expected
    assert set(defects) <= {"nul-character"}


def test_a_raw_8bit_file_name_is_read():
    assert filename(b'filename="na\xefve.pdf"') == ("naïve.pdf", ("raw-8bit-header",))


def test_the_name_of_the_content_type_serves_when_the_disposition_has_none():
    parsed = parse(part('application/pdf; name="a.pdf"', b"x"))

    assert parsed.attachments[0].filename == "a.pdf"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("TEXT/HTML", "text/html"),
        ("text/html (rich) ; charset=utf-8", "text/html"),
        ("text/html;", "text/html"),
    ],
)
def test_content_types_are_lower_case_and_bare(value, kind):
    assert parse_parameters(value, set())[0] == kind


@pytest.mark.parametrize("value", ["text", "html", "; charset=utf-8", "/", "text/", "plain text"])
def test_a_content_type_that_is_none_is_text(value):
    parsed = parse(part(value, b"body"))

    assert (parsed.body_text, parsed.defects) == ("body", ("bad-content-type",))


def test_a_content_type_without_its_semicolon_is_repaired():
    parsed = parse(part("text/html charset=koi8-r", "привет".encode("koi8-r")))

    assert (parsed.body_html, parsed.charsets) == ("привет", ("koi8-r",))
    assert parsed.defects == ("bad-content-type",)


@pytest.mark.parametrize("boundary", ['"=-b"', "=-b", '"=-b" ; x=y', "=-b (comment)"])
def test_boundaries_are_found_however_they_are_written(boundary):
    raw = multipart("mixed", [part("text/plain", b"one"), part("text/plain", b"two")], boundary="=-b")

    parsed = parse(raw.replace(b'boundary="=-b"', b"boundary=" + boundary.encode()))

    assert parsed.body_text == "one\ntwo"


def test_parameters_past_the_cap_are_dropped():
    value = "a/b" + "".join(f"; p{number}=v" for number in range(MAX_PARAMETERS + 5))

    assert len(parse_parameters(value, set())[1]) == MAX_PARAMETERS
