"""Message, thread, history and draft ids as Gmail shapes them.

A message id is a 64-bit number in 16 hexadecimal digits whose upper 44 bits are the arrival time in epoch milliseconds
(seen in every message of a real Takeout export); the lower 20 bits are random here.
"""

import random

RANDOM_BITS = 20


def message_number(arrival_ms: int, rng: random.Random) -> int:
    return (arrival_ms << RANDOM_BITS) | rng.getrandbits(RANDOM_BITS)


def to_hex(number: int) -> str:
    return f"{number:016x}"


def parse_hex(text: str) -> int | None:
    """The number of a message or thread id, None when the text cannot be one (Gmail: 400 `Invalid id value`)."""
    if not 1 <= len(text) <= 16:
        return None
    try:
        return int(text, 16) if text.isalnum() else None
    except ValueError:
        return None


def draft_id(rng: random.Random) -> str:
    """`r` and a signed 64-bit number, as in recorded answers (`r-6471792939619012916`, `r1193207197822532610`)."""
    return f"r{rng.randrange(-(1 << 63), 1 << 63)}"
