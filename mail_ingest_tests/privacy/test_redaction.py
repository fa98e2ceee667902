"""Text without addresses, numbers and codes: what goes, what stays, and how long it takes."""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.mime import parse
from mail_ingest.privacy import Hasher, derive_key, redact, without_hashes
from mail_ingest_tests.mime.public_mail import needs_public_mail, real_messages
from mail_ingest_tests.privacy.planted import HARMLESS, SENTENCES, plant

KEY = derive_key(b"s" * 32)
PLACEHOLDER = re.compile(r"\[(email|phone|card|account|code)\]")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("to alice@example.com, bob+x=y.org@list.example.org.", "to [email], [email]."),
        ('"john doe"@example.com', "[email]"),
        ("alice%40example.com and carol [at] example.com", "[email] and [email]"),
        ("root@[192.0.2.1] and admin@localhost", "[email] and [email]"),
        ("+44 20 7946 0958", "[phone]"),
        ("(415) 555-2671 ext 9", "[phone] ext 9"),
        ("card 4111-1111-1111-1111 or 378282246310005", "card [card] or [card]"),
        ("de89370400440532013000", "[account]"),
        ("Kontonummer 1234567", "Kontonummer [account]"),
        ("493-027 is your Google code", "[code] is your Google code"),
        ("your security code: X7K9QP", "your security code: [code]"),
        ("https://x.example/r?user=1&token=abcdef123&x=1", "https://x.example/r?user=1&token=[code]&x=1"),
    ],
)
def test_what_points_at_people_or_opens_doors_is_replaced(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize("text", HARMLESS)
def test_dates_amounts_and_order_numbers_stay(text: str) -> None:
    assert redact(text) == text


def test_a_number_alone_is_a_code_where_the_subject_announces_one() -> None:
    body = "Hello,\n\n  482910\n\nValid for 10 minutes, until 2026."

    assert redact(body) == body
    assert redact(body, announces_code=True) == body.replace("482910", "[code]")


@pytest.mark.parametrize("kind", SENTENCES)
def test_every_sentence_with_something_planted_loses_it(kind: str) -> None:
    rng = random.Random(7)

    missed = [item for _ in range(400) if (item := plant(rng, kind)).thing in redact(item.sentence)]

    assert missed == []


@needs_public_mail
def test_planted_things_are_found_in_real_mail_and_little_else_is(record_property) -> None:
    """What real mail holds itself is counted apart: its addresses and telephone numbers are real, its other finds are few."""
    rng = random.Random(11)
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    own: Counter[str] = Counter()
    harmless_lost = harmless = characters = 0
    spent = 0.0
    for _, raw in list(real_messages())[::4]:
        text = parse(raw).text or ""
        began = time.process_time()
        before = redact(text)
        spent += time.process_time() - began
        characters += len(text)
        own.update(PLACEHOLDER.findall(before))
        item = plant(rng, rng.choice(tuple(SENTENCES)))
        planted[item.kind] += 1
        lines = text.splitlines()
        lines.insert(rng.randrange(len(lines) + 1), f"\n{item.sentence}\n")
        found[item.kind] += item.thing not in redact("\n".join(lines))
        # not in the same text: what follows the announcement of a code is taken for the code
        sentence = rng.choice(HARMLESS)
        harmless += 1
        harmless_lost += sentence not in redact("\n".join([text, "", sentence, ""]))

    recall = {kind: found[kind] / planted[kind] for kind in planted}
    record_property(
        "figure",
        f"redaction: recall on {sum(planted.values())} things planted in real mail "
        + ", ".join(f"{kind} {value:.1%}" for kind, value in sorted(recall.items()))
        + f"; {harmless_lost} of {harmless} harmless sentences altered; in {characters:,} characters of real mail "
        + ", ".join(f"{count} {kind}s" for kind, count in sorted(own.items()))
        + f"; {spent / characters * 1e9:.0f} ms a million characters",
    )
    assert min(recall.values()) > 0.99
    assert harmless_lost <= harmless * 0.002
    assert own["code"] + own["account"] + own["card"] <= 20


@given(st.text(alphabet=st.sampled_from("ab1234567890 +-.()@[]:/\n=&?code@IBANDE89€，"), max_size=200))
def test_redacting_twice_changes_nothing(text: str) -> None:
    hasher = Hasher(KEY)
    once, hashed = redact(text), redact(text, replace_address=hasher.address)

    assert redact(once) == once
    assert redact(hashed, replace_address=hasher.address) == hashed


@given(st.text(max_size=300))
def test_any_text_can_be_redacted(text: str) -> None:
    redact(text, announces_code=True)


def test_hashed_addresses_in_text_join_with_those_in_headers() -> None:
    hasher = Hasher(KEY)

    text = redact("ask Alice@Example.com", replace_address=hasher.address)

    assert text == f"ask {hasher.address('alice@example.com')}"
    assert without_hashes(text) == "ask [email]"


HOSTILE = {
    "letters": "a",
    "digits": "1",
    "at signs": "@",
    "addresses": "a@b.c ",
    "numbers": "1234 ",
    "dotted": "a.b-",
    "brackets": "(+",
    "half a card": "4111 1111 1111 111 ",
    "IBAN starts": "DE89 ",
    "codes": "1234 code ",
    "links": "?code=",
    "quotes": '"@x.org ',
    "mixed": "A1-B2",
    "spelled": "[at]",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear_in_the_length_of_hostile_text(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        return min(_timed(text) for _ in range(3))

    small, large = seconds(5_000), seconds(40_000)

    # eight times the text: quadratic time would take sixty-four times as long
    assert large < 25 * max(small, 0.002)


def _timed(text: str) -> float:
    began = time.process_time()
    redact(text, announces_code=True)
    return time.process_time() - began
