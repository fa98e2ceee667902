"""Charset labels as found in mail, right and wrong."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest_tests.mime.builders import message, multipart, part


def text(body: bytes, label: str | None) -> tuple[str | None, tuple[str, ...]]:
    parsed = parse(message(body, "X: y") if label is None else part(f"text/plain; charset={label}", body))
    return parsed.body_text, parsed.defects


@pytest.mark.parametrize(
    ("label", "codec", "meant"),
    [
        ("utf-8", "utf-8", "Grüße 東京 €"),
        ("UTF8", "utf-8", "Grüße"),
        ("iso-8859-1", "cp1252", "“quoted” – € 5"),
        ("latin1", "latin-1", "Grüße"),
        ("iso-8859-15", "iso-8859-15", "5 €"),
        ("iso_8859-2", "iso-8859-2", "Łódź"),
        ("windows-1251", "cp1251", "Привет"),
        ("cp-1251", "cp1251", "Привет"),
        ("win1251", "cp1251", "Привет"),
        ("koi8-r", "koi8-r", "Привет"),
        ("koi8-u", "koi8-u", "Київ"),
        ("iso-8859-9", "cp1254", "İstanbul “x”"),
        ("windows-874", "cp874", "ไทย"),
        ("tis-620", "cp874", "ไทย"),
        ("gb2312", "gb18030", "中文镕"),
        ("x-gbk", "gb18030", "中文"),
        ("big5", "cp950", "繁體中文"),
        ("chinesebig5", "cp950", "繁體"),
        ("big5-hkscs", "big5hkscs", "香港嘅"),
        ("ks_c_5601-1987", "cp949", "한글뷁"),
        ("euc-kr", "cp949", "한국"),
        ("shift_jis", "cp932", "日本語①"),
        ("x-sjis", "cp932", "日本語"),
        ("euc-jp", "euc_jp", "日本語"),
        ("iso-2022-jp", "iso2022_jp", "日本語"),
        ("iso-2022-jp", "iso2022_jp_ext", "ﾊﾝｶｸ"),
        ("iso-2022-kr", "iso2022_kr", "한국"),
        ("hz-gb-2312", "hz", "中文"),
        ("utf-7", "utf-7", "Grüße"),
        ("utf-16", "utf-16", "Grüße"),
        ("utf-16le", "utf-16-le", "Grüße"),
        ("iso-8859-8-i", "iso-8859-8", "שלום"),
        ("macintosh", "mac-roman", "Grüße"),
        ('"utf-8"', "utf-8", "Grüße"),
        ("'utf-8'", "utf-8", "Grüße"),
        ("utf-8 (Unicode)", "utf-8", "Grüße"),
    ],
)
def test_labels_mean_what_senders_mean_by_them(label, codec, meant):
    assert text(meant.encode(codec), label) == (meant, ())


def test_japanese_with_windows_characters_is_read():
    # NEC row 13 has the circled digits; ISO-2022-JP proper has no such row.
    assert text(b"\x1b$B-!\x1b(B and \x1b$BF|K\\\x1b(B\n", "iso-2022-jp") == ("① and 日本\n", ())
    assert text(b"\x1b$B-!\x1b(I1\x1b(J~\n", "iso-2022-jp")[0] == "①ｱ~\n"


@pytest.mark.parametrize("label", ["default", "x-unknown", "default_charset", "zlib", "rot13", "idna", "x" * 100])
def test_unknown_labels_are_guessed(label):
    assert text("Grüße".encode(), label) == ("Grüße", ("unknown-charset",))
    assert text("Grüße".encode("latin-1"), label) == ("Grüße", ("unknown-charset",))
    assert text(b"plain", label) == ("plain", ("unknown-charset",))


def test_undeclared_8bit_text_is_utf8_or_windows_1252():
    assert text("Grüße".encode(), None) == ("Grüße", ("undeclared-charset",))
    assert text("Grüße €".encode("cp1252"), None) == ("Grüße €", ("undeclared-charset",))
    assert text("日本語".encode("iso2022_jp"), None) == ("日本語", ("undeclared-charset",))
    assert text(b"plain", None) == ("plain", ())


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("us-ascii", "utf-8"),
        ("iso-8859-1", "utf-8"),
        ("windows-1252", "utf-8"),
        ("utf-8", "cp1252"),
        ("us-ascii", "cp1252"),
    ],
)
def test_a_label_that_does_not_fit_gives_way_to_one_that_does(label, codec):
    assert text("Grüße aus Köln".encode(codec), label) == ("Grüße aus Köln", ("wrong-charset",))


def test_utf8_labelled_as_another_multibyte_charset_is_recognized():
    assert text("日本語テキスト".encode(), "iso-2022-jp") == ("日本語テキスト", ("wrong-charset",))
    assert text("Grüße".encode(), "euc-jp") == ("Grüße", ("wrong-charset",))


def test_plain_text_labelled_utf16_is_recognized():
    assert text(b"plain text", "utf-16") == ("plain text", ("wrong-charset",))


def test_text_cut_in_the_middle_of_a_character_loses_that_character_only():
    whole = "日本語の文章".encode()

    assert text(whole[:-1], "utf-8") == ("日本語の文\ufffd", ("undecodable-bytes",))


def test_bytes_windows_1252_does_not_have_are_kept_as_controls():
    assert text(b"a\x81b\xe9", "iso-8859-1") == ("a\x81bé", ())


def test_a_byte_order_mark_is_dropped():
    assert text(b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", "utf-8") == ("Grüße", ())


def test_nul_characters_are_dropped():
    assert text(b"a\0b", "utf-8") == ("ab", ("nul-character",))


def test_utf7_that_would_smuggle_in_a_surrogate_is_not_decoded():
    assert text(b"a+2AA-b", "utf-7") == ("a+2AA-b", ("wrong-charset",))


def test_html_that_names_its_own_charset_is_believed_when_the_header_is_silent():
    body = '<html><head><meta http-equiv="Content-Type" content="text/html; charset=koi8-r"></head>Привет'

    for kind in ("text/html", "text/html; charset=us-ascii"):
        parsed = parse(part(kind, body.encode("koi8-r")))
        assert parsed.text == "Привет"
    assert parse(part("text/html", b'<meta charset="big5"><p>' + "中文".encode("big5"))).text == "中文"


def test_declared_charsets_are_listed_once_in_order():
    raw = multipart(
        "alternative",
        [
            part("text/plain; charset=ISO-8859-1", b"a"),
            part('text/html; charset="utf-8"', b"a"),
            part("text/html; charset=iso-8859-1", b"a"),
            part("text/html", b"a"),
        ],
    )

    assert parse(raw).charsets == ("iso-8859-1", "utf-8")
