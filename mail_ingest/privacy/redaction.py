"""Text without what points at people or opens doors: addresses, telephone, card and account numbers, one-time codes.

    alice@example.com        [email]      or its keyed hash
    +44 20 7946 0958         [phone]
    4111 1111 1111 1111      [card]       checked by Luhn
    DE89 3704 0044 0532 ...  [account]    an IBAN, checked by mod 97; or a number beside a word for an account
    493 027                  [code]       beside words for a code, or where the subject announces one; in links as well

Time is linear in the length of the text, whatever it holds. Redacting a text twice changes nothing. What only a reader
would recognise (names, street addresses, numbers in words) stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mail_ingest.privacy import words
from mail_ingest.privacy.numbers import iban_length, is_card, is_iban, is_phone

EMAIL, PHONE, CARD, ACCOUNT, CODE = "[email]", "[phone]", "[card]", "[account]", "[code]"

ReplaceAddress = Callable[[str], str]

_Span = tuple[int, int, str]

_AT = re.compile(r"@|＠|%40|&#64;|&#x40;|&commat;|[ \t]?[\[({](?:at|AT)[\])}][ \t]?", re.IGNORECASE)
#: One of these is in every text that `_AT` finds something in.
_AT_MARKS = ("@", "＠", "%40", "&#", "&commat;", "at]", "at)", "at}", "AT]", "AT)", "AT}")
_LOCAL_CHARS = frozenset(".+-'_=!#$%&*^~")
_DOMAIN = re.compile(r"\[[0-9A-Fa-f.:]{3,60}\]|\w[\w\-]*+(?:\.\w[\w\-]*+)*+", re.UNICODE)

_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ \-]?[A-Za-z0-9]{2})")
_NUMBER = re.compile(r"[(+]{0,3}[0-9](?:[0-9\-./() \t\u00a0\u202f\u2009\u2010-\u2015]*[0-9])?")
_MIXED_CODE = re.compile(
    r"(?<![A-Za-z0-9\-])(?=[A-Z0-9\-]{0,10}[0-9])[A-Z0-9]{1,4}-[A-Z0-9]{3,8}(?![A-Za-z0-9\-])"
    r"|(?<![A-Za-z0-9\-])(?=[A-Z]{0,9}[0-9])(?=[0-9]{0,9}[A-Z])[A-Z0-9]{5,10}(?![A-Za-z0-9\-])"
)
_TOKEN_IN_LINK = re.compile(
    r"(?<=[?&;])(?:(?:access|auth|verif|confirm|reset|login|sign_?in|sms|id|refresh|security|activation|csrf|magic|one_?time"
    r"|user|session|api|invite|password|pwd|email)[\w.]{0,12}[_\-.]?)?(?:code|token|otp|pin|key|ticket|secret|sig|signature"
    r"|hash|jwt|oobcode)=",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\s&\"'<>\[\]#;]{4,4096}+[^\s&\"'<>\[\]#;]*+")
_WORD = re.compile(r"[^\W\d_]+(?:/c)?|2fa", re.IGNORECASE)
_DATE = re.compile(
    r"(?<![0-9])(?:[0-9]{4}[\-/.][0-9]{1,2}[\-/.][0-9]{1,2}|[0-9]{1,2}[\-/.][0-9]{1,2}[\-/.](?:[0-9]{4}|[0-9]{2}))(?![0-9])"
)
_GROUPS = re.compile(r"[0-9]+")
_SEPARATORS = re.compile(r"[^0-9]+")

_HASHED_ADDRESS = re.compile(r"\b(?:[a-z2-7]{24}@)?[a-z2-7]{24}\.hashed\b")

#: Chinese, Japanese and Korean letters begin here.
_FIRST_WITHOUT_SPACES = "\u2e80"
_BEFORE, _AFTER = 70, 45


def redact(text: str, *, replace_address: ReplaceAddress | None = None, announces_code: bool = False) -> str:
    """The text with everything above replaced.

    `replace_address` gives what stands for an address, its keyed hash for example. `announces_code`: what goes with the text,
    such as its subject, speaks of a code.
    """
    if any(mark in text for mark in _AT_MARKS):
        text = _without_addresses(text, replace_address)
    if not _GROUPS.search(text):
        return text
    spans = [*_link_tokens(text), *_ibans(text)]
    taken = _Taken(spans)
    spans += [span for span in _numbers(text, announces_code) if taken.is_free(span)]
    taken = _Taken(spans)
    spans += [span for span in _mixed_codes(text, announces_code) if taken.is_free(span)]
    return _replaced(text, sorted(spans))


def without_hashes(text: str) -> str:
    """The text with hashed addresses taken for addresses, to compare texts of which one was redacted first."""
    return _HASHED_ADDRESS.sub(EMAIL, text)


def announces_code(text: str) -> bool:
    """Whether a short text, a subject, speaks of a one-time code."""
    return _speaks_of_code(text[:500])


def _without_addresses(text: str, replace: ReplaceAddress | None) -> str:
    spans: list[_Span] = []
    end = 0
    for at in _AT.finditer(text):
        if at.start() < end:
            continue
        domain = _DOMAIN.match(text, at.end())
        start = _local_start(text, end, at.start())
        if domain is None or start == at.start():
            continue
        stop = domain.end()
        local = text[start : at.start()]
        if "." not in domain[0] and not (_has_letter(local) and _has_letter(domain[0])):
            continue
        if not _has_letter(domain[0].rsplit(".", 1)[-1]) and domain[0][0] != "[":
            continue
        found = f"{local}@{text[at.end() : stop]}"
        spans.append((start, stop, EMAIL if replace is None else replace(found)))
        end = stop
    return _replaced(text, spans)


def _local_start(text: str, low: int, high: int) -> int:
    """Where the part before an at sign begins, not before `low`."""
    start = high
    if start > low and text[start - 1] == '"':
        quote = text.rfind('"', max(low, start - 66), start - 1)
        return quote if quote >= 0 else start
    while start > low and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_CHARS):
        start -= 1
    # punctuation in front of the address is the sentence's
    while start < high and text[start] in ".'-*~=!#&%^$":
        start += 1
    return start


def _has_letter(text: str) -> bool:
    return any(char.isalpha() for char in text)


def _link_tokens(text: str) -> Iterator[_Span]:
    for name in _TOKEN_IN_LINK.finditer(text):
        value = _TOKEN.match(text, name.end())
        if value is not None:
            yield name.end(), value.end(), CODE


def _ibans(text: str) -> Iterator[_Span]:
    for start in _IBAN_START.finditer(text):
        wanted = iban_length(start[0][:2])
        if not wanted:
            continue
        kept: list[str] = []
        position = start.start()
        while len(kept) < wanted and position < len(text):
            char = text[position]
            if char.isascii() and char.isalnum():
                kept.append(char)
            elif char not in " -\u00a0" or text[position - 1] in " -\u00a0":
                break
            position += 1
        ends = position >= len(text) or not text[position].isalnum()
        if len(kept) == wanted and ends and is_iban("".join(kept)):
            yield start.start(), position, ACCOUNT


def _numbers(text: str, announced: bool) -> Iterator[_Span]:
    """Numbers that are cards, accounts, codes or telephone numbers."""
    for found in _NUMBER.finditer(text):
        digits = sum(map(len, _GROUPS.findall(found[0])))
        if digits < 4:
            continue
        yield from _in_run(text, found.start(), found[0], announced)


def _in_run(text: str, offset: int, run: str, announced: bool) -> Iterator[_Span]:
    """The numbers in one run of digits and what may stand between them."""
    groups = [(match.start(), match.end()) for match in _GROUPS.finditer(run)]
    cards = list(_cards(run, groups))
    yield from ((offset + start, offset + stop, CARD) for start, stop in cards)
    dates = [(date.start(), date.end()) for date in _DATE.finditer(run)]
    pieces = _pieces(run, groups, [*cards, *dates])
    for start, stop in pieces:
        kind = _kind(text, offset + start, offset + stop, announced)
        if kind is not None:
            yield offset + start, offset + stop, kind


def _cards(run: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Consecutive groups that make a card number: four to six groups by one space or dash, or all digits in one."""
    first = 0
    while first < len(groups):
        count = 0
        digits = ""
        for last in range(first, min(first + 5, len(groups))):
            if last > first and run[groups[last - 1][1] : groups[last][0]] not in (" ", "-", "\u00a0", "."):
                break
            digits += run[groups[last][0] : groups[last][1]]
            if len(digits) > 19:
                break
            if is_card(digits, last - first + 1):
                count = last - first + 1
        if count:
            yield groups[first][0], groups[first + count - 1][1]
        first += count or 1


def _pieces(run: str, groups: list[tuple[int, int]], taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs of groups that read as one number: apart from cards and dates, and split where two separators part them."""
    taken = sorted(taken)
    place = 0
    start: int | None = None
    stop = 0
    for group_start, group_stop in groups:
        while place < len(taken) and taken[place][1] <= group_start:
            place += 1
        inside = place < len(taken) and taken[place][0] < group_stop
        apart = start is not None and not _reads_on(run[stop:group_start])
        if start is not None and (inside or apart):
            yield start, stop
            start = None
        if inside:
            continue
        if start is None:
            start = _with_sign(run, group_start, stop)
        stop = group_stop
    if start is not None:
        yield start, stop


def _reads_on(between: str) -> bool:
    """Whether a number goes on after these separators: `) `, ` - ` and single ones; not over wide gaps."""
    return len(between) <= 3 and between.count(" ") <= 2 and between not in ("  ", "   ") and "+" not in between


def _with_sign(run: str, start: int, after: int) -> int:
    """The start of a number with its `+` and its bracket."""
    while start > after and run[start - 1] in "(+":
        start -= 1
    return start


def _kind(text: str, start: int, stop: int, announced: bool) -> str | None:
    """What a number is, by its words and its shape; None where it is nothing of interest."""
    number = text[start:stop]
    digits = "".join(_GROUPS.findall(number))
    if not 4 <= len(digits) <= 20 or len(number) > 40 or _is_inside_word(text, start, stop):
        return None
    before = text[max(0, start - _BEFORE) : start].lower()
    after = text[stop : stop + _AFTER].lower()
    near = _WORD.findall(before)
    if len(digits) >= 5 and not _is_amount(text, start, stop) and _is_account(near, before):
        return ACCOUNT
    if 4 <= len(digits) <= 8 and _is_short(number) and _is_code(text, start, stop, before, after, announced):
        return CODE
    if len(digits) >= 6 and is_phone(number, digits, has_word=_has_phone_word(before)):
        return PHONE
    return None


def _is_short(number: str) -> bool:
    """Whether a number is in one group or two, as codes are written."""
    return len(_SEPARATORS.findall(number)) <= 1


def _is_inside_word(text: str, start: int, stop: int) -> bool:
    """Whether the digits are a piece of a word, a path or a decimal number."""
    left = text[start - 1] if start else " "
    right = text[stop] if stop < len(text) else " "
    if left == ":" and start > 1 and text[start - 2].isdigit():
        return True  # a time of day, or the address of a machine
    return (
        _is_of_word(left)
        or left in "_=/\\@"
        or _is_of_word(right)
        or right in "_=@"
        or (right == "/" and text[stop + 1 : stop + 2].isalpha())
    )


def _is_of_word(char: str) -> bool:
    """Whether a character makes one word with a number beside it; where words have no spaces between them, it does not."""
    return char.isalnum() and char < _FIRST_WITHOUT_SPACES


def _is_amount(text: str, start: int, stop: int) -> bool:
    left, right = text[max(0, start - 2) : start], text[stop : stop + 4]
    return (
        any(sign in left for sign in "$€£¥")
        or right.lstrip()[:1] in ("$", "€", "£", "%")
        or (right[:1] in (",", ":") and right[1:2].isdigit())
    )


def _is_account(near: list[str], before: str) -> bool:
    last = near[-4:]
    if any(word in words.ACCOUNT_WORDS for word in last):
        return not any(word in words.NOT_ACCOUNT_WORDS for word in last)
    return not before.isascii() and any(part in before[-20:] for part in words.ACCOUNT_PARTS)


def _has_phone_word(before: str) -> bool:
    paragraph = before.rsplit("\n\n", 1)[-1]
    if any(word in words.PHONE_WORDS for word in _WORD.findall(paragraph)[-3:]):
        return True
    return not before.isascii() and any(part in before[-12:] for part in words.PHONE_PARTS)


def _is_code(text: str, start: int, stop: int, before: str, after: str, announced: bool) -> bool:
    if _is_amount(text, start, stop):
        return False
    if announced and _stands_alone(text, start, stop):
        return True
    number = text[start:stop]
    is_year = len(number) == 4 and number[:2] in ("19", "20")
    if is_year:
        return _speaks_of_code(before[-22:]) and before.rstrip()[-1:] in (":", "s", "=")
    return _speaks_of_code(before) or _speaks_of_code(after.split("\n\n")[0])


def _stands_alone(text: str, start: int, stop: int) -> bool:
    """Whether a number is alone on its line, or in a sentence that presents it (`is 123456.`, `: 123456`)."""
    line_start = text.rfind("\n", max(0, start - 80), start)
    left = text[max(line_start + 1, start - 80) : start].strip(" \t*_>-")
    line_end = text.find("\n", stop, stop + 80)
    right = text[stop : line_end if line_end >= 0 else stop + 80].strip(" \t*_<-.")
    return (not right and (not left or left[-1] in ":=")) or (not left and not right)


def _speaks_of_code(text: str) -> bool:
    low = text.lower()
    found = _WORD.findall(low)
    if not low.isascii() and any(part in low for part in words.CODE_PARTS):
        return True
    if any(word in words.PASSWORD_WORDS for word in found[-2:]):
        return True
    for place, word in enumerate(found):
        if word in words.CODE_WORDS:
            return True
        if word in words.PLAIN_CODE_WORDS and not (place and found[place - 1] in words.OTHER_CODES):
            around = found[max(0, place - 4) : place + 5]
            if any(other in words.CODE_QUALIFIERS for other in around):
                return True
    return False


def _mixed_codes(text: str, announced: bool) -> Iterator[_Span]:
    """Codes of capitals and digits beside words for a code."""
    for found in _MIXED_CODE.finditer(text):
        before = text[max(0, found.start() - 45) : found.start()]
        alone = announced and _stands_alone(text, found.start(), found.end())
        if alone or _speaks_of_code(before):
            yield found.start(), found.end(), CODE


class _Taken:
    """Spans that were found, to ask whether others lie apart from them; asked in order of position."""

    def __init__(self, spans: list[_Span]) -> None:
        self._spans = sorted(spans)
        self._place = 0

    def is_free(self, span: _Span) -> bool:
        spans, start, stop = self._spans, span[0], span[1]
        while self._place < len(spans) and spans[self._place][1] <= start:
            self._place += 1
        return self._place == len(spans) or spans[self._place][0] >= stop


def _replaced(text: str, spans: list[_Span]) -> str:
    if not spans:
        return text
    pieces, end = [], 0
    for start, stop, instead in spans:
        if start < end:
            continue
        pieces += [text[end:start], instead]
        end = stop
    pieces.append(text[end:])
    return "".join(pieces)
