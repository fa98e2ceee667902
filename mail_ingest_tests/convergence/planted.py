"""What people write in the mailbox, and what of it may be stored, told by the mail itself and not by the product."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import getaddresses, parseaddr
from typing import Any

from mail_ingest.privacy import Policy

PEOPLE = ("Ann Planted <ann@corr.example>", "Ben Planted <ben@corr.example>", "Cem Planted <cem@corr.example>")
ADDRESSES = tuple(parseaddr(person)[1] for person in PEOPLE)

_WORDS, _PHONE, _CODE, _FILE = "planted words of a body", "+44 20 7946 0958", "90417263", "planted-file.txt"
_WORDS_OF_A_FILE = "planted words of a file"
_SIGN_IN = "Your verification code"


def written(a: int, b: int) -> dict[str, Any]:
    """A message of one of a few people, in some of which another one is named, or a file attached; or a code to sign in."""
    if a == 10:
        return {
            "subject": _SIGN_IN,
            "sender": "no-reply@service.example",
            "body": f"Your verification code is {_CODE}.\n",
        }
    other = ADDRESSES[(a + 1) % len(ADDRESSES)]
    asks = f"Ask {other}.\n" if b % 3 == 1 else ""
    mail: dict[str, Any] = {
        "sender": PEOPLE[a % len(PEOPLE)],
        "body": f"{_WORDS}\nCall me: {_PHONE}.\n{asks}" + "x\n" * (a % 7),
    }
    if b % 3 == 0:
        mail["cc"] = other
    if b % 4 == 1:
        mail["attachments"] = [(_FILE, "text/plain", _WORDS_OF_A_FILE.encode())]
    return mail


@dataclass(frozen=True)
class Facts:
    """What a message says of people, files and codes."""

    author: str
    mentioned: frozenset[str]
    has_attachments: bool
    is_sign_in: bool

    @classmethod
    def of(cls, raw: bytes) -> Facts:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        [(_, author), *_] = getaddresses([message["From"]])
        mentioned = frozenset(address for address in ADDRESSES if address.encode() in raw)
        has_attachments = any(True for _ in message.iter_attachments())
        return cls(author, mentioned, has_attachments, message["Subject"] == _SIGN_IN)


def forbidden(policy: Policy, erased: Collection[str]) -> list[str]:
    """Texts that may stand nowhere, by what is allowed now."""
    texts = [*erased]
    if policy.tier != "full":
        texts += [_PHONE, _CODE]
    if not policy.allows_bytes:
        texts += [_WORDS_OF_A_FILE]
    if policy.tier == "headers":
        texts += [_WORDS]
    if policy.tier == "hashed":
        texts += [*ADDRESSES, "Ann Planted", "corr.example"]
    if policy.tier in ("headers", "hashed") or not policy.attachments:
        texts += [_FILE]
    if not policy.sign_in_mail:
        texts += [_CODE, _SIGN_IN]
    return texts
