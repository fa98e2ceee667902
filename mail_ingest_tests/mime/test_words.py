"""Encoded words (RFC 2047), as written and as found."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest_tests.mime.builders import message


def subject(value: str) -> tuple[str | None, tuple[str, ...]]:
    parsed = parse(message(b"", f"Subject: {value}", "X: y"))
    return parsed.subject, parsed.defects


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("=?utf-8?q?caf=C3=A9?=", "café"),
        ("=?UTF-8?B?Y2Fmw6k=?=", "café"),
        ("=?iso-8859-1?Q?a_b=5Fc?= d", "a b_c d"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
        ("=?utf-8?q?a?=\n =?iso-8859-1?q?=E9?=", "aé"),
        ("Re: =?utf-8?q?a?=!", "Re: a!"),
        ("=?utf-8*en?q?lang?=", "lang"),
        ("=?us-ascii?q?plain text?=", "plain text"),
        ("x=?utf-8?q?glued?=y", "xgluedy"),
        ("=?gb2312?B?1tDOxA==?=", "中文"),
        ("=?ks_c_5601-1987?B?x9GxuQ==?=", "한국"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8?q??=", ""),
        ("=?utf-8?q?two=0D=0A_lines?=", "two lines"),
        ("2 =? 3", "2 =? 3"),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?utf-8?q?never closed", "=?utf-8?q?never closed"),
    ],
)
def test_encoded_words_say_what_was_meant(value, meant):
    assert subject(value) == (meant, ())


def test_a_character_cut_in_two_words_is_put_together():
    assert subject("=?utf-8?B?5pel5pys6Kqe5pel5pys6A==?=\n =?utf-8?B?qp4=?=") == ("日本語日本語", ())
    assert subject("=?utf-8?Q?=E6=97?= =?UTF-8?Q?=A5?=") == ("日", ())
    assert subject("=?big5?B?pKSk?= =?big5?Q?=E5?=") == ("中文", ())


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("=?utf-8?B?Y2Fmw6k?=", "café"),
        ("=?no-such-charset?q?caf=C3=A9?=", "café"),
        ("=?no-such-charset?q?caf=E9?=", "café"),
        ("=?utf-8?q?caf=E9?=", "café"),
        ("=?utf-8?B?Y2F!mw6k=?=", "café"),
    ],
)
def test_damaged_words_are_read_as_far_as_they_go(value, meant):
    assert subject(value) == (meant, ("bad-encoded-word",))


def test_words_decode_inside_quoted_names_and_file_names():
    parsed = parse(message(b"", 'From: "=?utf-8?q?J=C3=BCrgen?= K." <j@example.com>'))

    assert parsed.from_[0].name == "Jürgen K."
