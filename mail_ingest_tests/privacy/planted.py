"""Things that must not be stored, in sentences as people and machines write them; none of them is anybody's."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

#: Kind -> sentences with `{}` for the thing.
SENTENCES: dict[str, tuple[str, ...]] = {
    "email": (
        "Write to {} about it.",
        "Contact: {}, or come by.",
        "> On Monday {} wrote:",
        "Jane Doe <{}> has answered.",
        "see mailto:{}?subject=hello",
        "Meine Adresse ist {}.",
    ),
    "phone": (
        "Call me at {} tomorrow.",
        "Tel: {}",
        "Phone {} | Fax on request",
        "Mobil: {}",
        "Téléphone : {}",
        "You reach me under {}, any time.",
        "Teléfono {}",
        "Cell: {}",
    ),
    "card": ("Charged to {} today.", "My card: {}, expires 12/29", "Kreditkarte {}", "carte {} refusée"),
    "account": (
        "IBAN: {}",
        "Please transfer to {} by Friday.",
        "Kontonummer {}",
        "account number {} at the bank",
        "Acct #: {}",
        "cuenta {}",
    ),
    "code": (
        "Your verification code is {}.",
        "{} is your login code",
        "Ihr Bestätigungscode lautet {}",
        "Votre code de vérification est {}.",
        "Tu código de seguridad: {}",
        "Il tuo codice di verifica è {}",
        "Uw verificatiecode is {}",
        "Twój kod weryfikacyjny: {}",
        "Ваш код подтверждения: {}",
        "您的验证码是{}，请勿告诉他人",
        "認証コード：{}",
        "Use {} as your one-time password",
        "Your security code:\n\n    {}\n\nDo not share it.",
    ),
}


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _luhn(rng: random.Random) -> str:
    body = rng.choice(("4", "51", "55", "601100", "2221", "353011")) + _digits(rng, 15)
    body = body[:15]
    total = sum(
        (value - 9 if value > 9 else value)
        for value in (int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    )
    digits = body + str(-total % 10)
    mark = rng.choice((" ", "-", ""))
    return mark.join(digits[start : start + 4] for start in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 22), ("NL", 18), ("FR", 27), ("GB", 22), ("ES", 24)))
    bban = "".join(rng.choice("0123456789") for _ in range(length - 4))
    if country in ("NL", "GB"):
        bban = "ABNA" + bban[4:]
    number = int("".join(str(int(char, 36)) for char in bban + country + "00"))
    iban = f"{country}{98 - number % 97:02}{bban}"
    return " ".join(iban[start : start + 4] for start in range(0, len(iban), 4)) if rng.random() < 0.6 else iban


def _email(rng: random.Random) -> str:
    name = rng.choice(("planted.one", "x+tag", "PLANTED_two", "o'hara", "müller", "a", "bounce=me.example"))
    return f"{name}{rng.randrange(1000)}@{rng.choice(('sub.hidden.example', 'hidden-place.example', 'bücher.example'))}"


def _phone(rng: random.Random) -> str:
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"+44 20 7946 {_digits(rng, 4)}",
        lambda: f"+1 (415) 555-{_digits(rng, 4)}",
        lambda: f"415-555-{_digits(rng, 4)}",
        lambda: f"(212) 555 {_digits(rng, 4)}",
        lambda: f"+49 30 {rng.randrange(2, 9)}{_digits(rng, 6)}",
        lambda: f"030 / {rng.randrange(2, 9)}{_digits(rng, 7)}",
        lambda: f"+33 1 {rng.randrange(40, 58)} {_digits(rng, 2)} {_digits(rng, 2)} {_digits(rng, 2)}",
        lambda: f"0033 1 {rng.randrange(40, 58)} {_digits(rng, 2)} {_digits(rng, 2)} {_digits(rng, 2)}",
        lambda: f"020 7946 {_digits(rng, 4)}",
    )
    return rng.choice(forms)()


def _code(rng: random.Random) -> str:
    digits = f"{rng.randrange(1, 10)}{_digits(rng, 5)}"
    return rng.choice((digits, digits, f"{digits[:3]}-{digits[3:]}", f"{digits[:3]} {digits[3:]}", f"G-{digits}"))


@dataclass(frozen=True, slots=True)
class Planted:
    kind: str
    thing: str
    sentence: str


def plant(rng: random.Random, kind: str) -> Planted:
    """A thing of that kind, and a sentence that holds it."""
    sentence = rng.choice(SENTENCES[kind])
    if kind == "account":
        needs_iban = "IBAN" in sentence or "transfer" in sentence
        thing = _iban(rng) if needs_iban else f"{rng.randrange(1, 10)}{_digits(rng, rng.choice((7, 9)))}"
    else:
        thing = {"email": _email, "phone": _phone, "card": _luhn, "code": _code}[kind](rng)
    return Planted(kind, thing, sentence.format(thing))


#: What looks like the above and is not: nothing of it may be replaced.
HARMLESS = (
    "The meeting is on 2026-05-17 at 10:30, or 17.05.2026, or 05/17/2026.",
    "Order number 302-1849302-7729184 was shipped.",
    "Invoice 2026-004711 over 1,234,567.89 EUR, due in 30 days.",
    "Total: $4,111.11, paid on Fri, 12 Sep 2025 12:01:00 -0700",
    "Tracking number 1Z999AA10123456784",
    "ISBN 978-3-16-148410-0, pages 1200-1300",
    "The server 192.168.100.200 answers on port 8080, version 10.4.2.",
    "error code 404040, exit code 255, status code 5000",
    "Our zip code is 94103, the area code 4150.",
    "Use promo code 202611 for 20 % off.",
    "Linux 6.1.0-18-amd64 and build 20261105123456",
    "Population 83200000 in 2024, 12 000 000 more than before",
    "Coordinates 52.520008, 13.404954",
    "ticket 8842771 was closed after 1234567890 ms",
    "commit 4f2a9c1 changed 12345 lines",
    "Flight LH 1234 leaves at 07:45 from gate 22",
    "5 @ 3.50 is a price, @someone a handle",
)
