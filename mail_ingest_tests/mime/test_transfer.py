"""Transfer encodings, sound and damaged."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.mime import parse
from mail_ingest.mime.transfer import decode_base64, decode_quoted_printable, decode_transfer
from mail_ingest_tests.mime.builders import part


def decoded(encoding: str, data: bytes) -> tuple[bytes, set[str]]:
    defects: set = set()
    return decode_transfer(data, encoding, defects), defects


@pytest.mark.parametrize(
    ("data", "content", "defects"),
    [
        (b"YWJj\r\nZGVm\r\n", b"abcdef", set()),
        (b"YWI=\n", b"ab", set()),
        (b"", b"", set()),
        (b" YWJj \nZGVm\t\n", b"abcdef", set()),
        (b"YWJj!!ZGVm", b"abcdef", {"dirty-base64"}),
        (b"YWJj\x80\xffZGVm", b"abcdef", {"dirty-base64"}),
        (b"YWI=YWI=", b"abab", set()),
        (b"YQ==\nYg==\nYw==\n", b"abc", set()),
        (b"YWI=\n\n-- \nThe list's footer, v1\n", b"ab", {"dirty-base64"}),
        (b"YWI=\nFooter text\n", b"ab", {"dirty-base64"}),
        (b"YWJjZG", b"abcd", {"bad-base64"}),
        (b"YWJjZ", b"abc", {"bad-base64"}),
        (b"YWJj=", b"abc", set()),
        (b"====", b"", set()),
    ],
)
def test_base64(data, content, defects):
    assert decoded("base64", data) == (content, defects)


@pytest.mark.parametrize(
    ("data", "content", "defects"),
    [
        (b"caf=C3=A9=\n!", b"caf\xc3\xa9!", set()),
        (b"caf=c3=a9=\r\n!\r\n", b"caf\xc3\xa9!\r\n", set()),
        (b"soft =  \nbreak", b"soft break", set()),
        (b"soft = \t\r\nbreak=3D", b"soft break=", set()),
        (b"a=ZZb", b"a=ZZb", {"dirty-quoted-printable"}),
        (b"a=", b"a", {"dirty-quoted-printable"}),
        (b"no escapes", b"no escapes", set()),
        (b"raw \xe9 =3D", b"raw \xe9 =", set()),
    ],
)
def test_quoted_printable(data, content, defects):
    assert decoded("quoted-printable", data) == (content, defects)


def test_uuencode():
    lines = b"".join(binascii.b2a_uu(b"hello world\n") for _ in range(3))

    assert decoded("x-uuencode", b"begin 644 x\n" + lines + b"`\nend\nfooter\n") == (b"hello world\n" * 3, set())
    assert decoded("uuencode", b"begin 644 x\n" + lines + b"M~~~\nend\n") == (b"hello world\n" * 3, {"bad-uuencode"})


@pytest.mark.parametrize("encoding", ["", "7bit", "8bit", "binary"])
def test_identity_encodings_leave_bytes_alone(encoding):
    assert decoded(encoding, b"=C3 \r\n\0\xff") == (b"=C3 \r\n\0\xff", set())


def test_an_unknown_encoding_leaves_bytes_alone_and_is_noted():
    assert decoded("x-rot13", b"abc") == (b"abc", {"unknown-encoding"})


@pytest.mark.parametrize("written", ["BASE64", " base64 ", "base64; x=y", "base64 (really)"])
def test_the_name_of_an_encoding_is_found_in_what_is_written(written):
    parsed = parse(part("text/plain", b"aGVsbG8=", f"Content-Transfer-Encoding: {written}"))

    assert (parsed.body_text, parsed.defects) == ("hello", ())


@given(st.binary(max_size=500), st.integers(1, 80), st.sampled_from([b"\n", b"\r\n", b" \r\n"]))
def test_base64_in_any_line_length_round_trips(content, width, line_end):
    encoded = base64.b64encode(content)
    lines = line_end.join(encoded[start : start + width] for start in range(0, len(encoded), width))
    defects: set = set()

    assert decode_base64(lines, defects) == content
    assert defects == set()


@given(st.binary(max_size=500), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_quoted_printable_round_trips(content, line_end, istext):
    content = content.replace(b"\r", b"").replace(b"\n", line_end)
    encoded = binascii.b2a_qp(content, istext=istext)
    defects: set = set()

    assert decode_quoted_printable(encoded, defects) == binascii.a2b_qp(encoded)
    assert defects == set()
