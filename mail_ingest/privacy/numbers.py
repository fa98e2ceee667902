"""Whether digits are a card, an account or a telephone number: the checks that need no words around them."""

from __future__ import annotations

import functools
import re
from typing import Any

#: Lengths of IBANs by country (https://www.swift.com/standards/data-standards/iban-international-bank-account-number).
_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS = {country: length for length, countries in _BY_LENGTH.items() for country in countries.split()}
#: First digits and lengths of the cards that people carry.
_CARD = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12}(?:\d{3})?|35(?:2[89]|[3-8]\d)\d{12}"
    r"|(?:50|5[6-9]|6[0-9])\d{14}(?:\d{3})?"
)
#: Whose national numbers are recognised by their shape. Others need a `+` or a word.
_REGIONS = ("US", "GB", "DE", "FR", "IT", "ES", "NL", "AU", "IN", "CH", "AT", "BE", "SE", "BR", "JP")
_NORTH_AMERICAN = re.compile(r"\+?1?[ .\-]?\(?[2-9]\d\d\)?[ .\-/]{1,2}[2-9]\d\d[ .\-]\d{4}")
_SEPARATED = re.compile(r"\(?0\d{1,5}\)?[ \-/.]")
_LOOKS_LIKE_DATE = re.compile(r"0?\d[./\-]\d{1,2}[./\-](?:19|20)?\d\d|(?:19|20)\d\d")


def is_card(digits: str, groups: int) -> bool:
    """Whether these digits, written in so many groups, are a card number by its issuer and the Luhn check."""
    if not 14 <= len(digits) <= 19 or (len(digits) == 14 and groups == 1) or _CARD.fullmatch(digits) is None:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(digits)) > 1


def iban_length(country: str) -> int:
    """How long a country's IBANs are, 0 where it has none."""
    return _IBAN_LENGTHS.get(country.upper(), 0)


def is_iban(text: str) -> bool:
    """Whether an IBAN without spaces passes its check (ISO 7064, mod 97)."""
    turned = (text[4:] + text[:4]).upper()
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


@functools.lru_cache(maxsize=20_000)
def is_phone(number: str, digits: str, *, has_word: bool) -> bool:
    """Whether a number as written is a telephone number.

    With a `+` it has to be possible in its country; beside a word for a telephone any length will do; else it has to be
    written as people write their numbers, and be valid in one of a few countries.
    """
    if not 6 <= len(digits) <= 15:
        return False
    if number.lstrip("(").startswith("+"):
        return len(digits) >= 7 and _is_possible("+" + digits)
    if digits.startswith("00") and len(digits) >= 9:
        return _is_possible("+" + digits[2:])
    if has_word:
        return _LOOKS_LIKE_DATE.fullmatch(number) is None
    if _NORTH_AMERICAN.fullmatch(number):
        return True
    if len(digits) < 9 or _SEPARATED.match(number) is None:
        return False
    return any(_is_valid(number, region) for region in _REGIONS)


def _is_possible(number: str) -> bool:
    phones = _library()
    try:
        return bool(phones.is_possible_number(phones.parse(number)))
    except phones.NumberParseException:
        return False


def _is_valid(number: str, region: str) -> bool:
    phones = _library()
    try:
        return bool(phones.is_valid_number_for_region(phones.parse(number, region), region))
    except phones.NumberParseException:
        return False


@functools.cache
def _library() -> Any:
    # a good part of a second and some megabytes, which the tier `full` never needs
    import phonenumbers

    return phonenumbers
