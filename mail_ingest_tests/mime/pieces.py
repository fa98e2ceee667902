"""Messages put together from what parsers stumble over."""

from __future__ import annotations

from hypothesis import strategies as st

# What parsers stumble over, in pieces to be strewn about.
PIECES = [
    b"From: ", b"From ", b"To: ", b"Cc: ", b"Subject: ", b"Date: ", b"Message-ID: ", b"References: ", b"In-Reply-To: ",
    b"Content-Type: ", b"Content-Transfer-Encoding: ", b"Content-Disposition: ", b"Content-ID: ",
    b"multipart/mixed; boundary=b", b"multipart/alternative; boundary=\"b\"", b"multipart/digest; boundary=b",
    b"message/rfc822", b"text/plain", b"text/html", b"text/calendar", b"application/pdf; name=", b"; charset=",
    b"utf-8", b"utf-7", b"utf-16", b"iso-2022-jp", b"gb2312", b"koi8-r", b"x-unknown", b"hz-gb-2312", b"idna",
    b"base64", b"quoted-printable", b"x-uuencode", b"begin 644 x\n", b"attachment; filename*0*=utf-8''%C3", b"inline",
    b"--b\n", b"--b--\n", b"--b\r\n\r\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\n ", b"\r\n\t", b" ", b";", b":", b",",
    b"<", b">", b"(", b")", b'"', b"\\", b"[", b"]", b"@", b"a@b.example", b"<a@b>", b"=?utf-8?q?=C3=A9?=",
    b"=?utf-8?B?w6k=?=", b"=?iso-2022-jp?B?GyRC?=", b"=?", b"?=", b"=", b"=\n", b"=C3", b"+2AA-", b"\x1b$B", b"\x1b(B",
    b"\xff\xfe", b"\xc3", b"\xe9", b"\x00", b"\xed\xa0\x80", b"~{", b"~}", b"Mon, 1 Jan 2024 10:00:00 +0100", b"QUJD",
    b"<p>", b"<table><tr><td>", b"<blockquote>", b"</blockquote>", b"<a href='http://x'>", b"<!--", b"<script>", b"&#0;",
]  # fmt: skip

messages = st.one_of(
    st.binary(max_size=400),
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=5)), max_size=60).map(b"".join),
)
