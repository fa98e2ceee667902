"""Whose turn it is where an account is rewritten while others buy content for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mail_ingest.ingest import content

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine


@contextmanager
def hold_account(engine: Engine, account_id: str) -> Iterator[None]:
    """Holds an account's state and content. A drain lets go of the content after each package, and this one is next: it waits
    for as long as that may take, or as it waits for anything if that is longer; for `Engine.turn_s` where somebody has said
    how long.

    Raises BusyError where others hold the account, or its content for longer than that.
    """
    locks = engine.locks
    turn_s = max(locks.wait_s, content.NEXT_TURN_S) if engine.turn_s is None else engine.turn_s
    with locks.hold(f"account:{account_id}"), locks.hold_in_turn(f"content:{account_id}", wait_s=turn_s):
        yield
