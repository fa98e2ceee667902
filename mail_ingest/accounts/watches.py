"""Watches: which accounts Gmail is to publish changes of, until when it does, and when it has to be asked again.

A watch ends after seven days at the latest, and Google recommends to renew it every day:
https://developers.google.com/workspace/gmail/api/guides/push
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, and_, case, or_, select, update

from mail_ingest.accounts.account import Account
from mail_ingest.accounts.tables import accounts

#: A watch that has less than this left is renewed whatever the schedule of the day has done.
RENEWED_BEFORE = timedelta(hours=1)
#: The run of a day leaves out what was renewed so lately, as by a run that was killed and is made up for.
RENEWED_LATELY = timedelta(hours=12)
#: A renewal that failed is tried again after this time while the watch is in force, later where it is not: a topic that Gmail
#: may not publish to costs 100 units a try.
_RETRIED_AFTER = timedelta(minutes=15)
_RETRIED_LATER_AFTER = timedelta(hours=6)

NO_WATCH = {
    "watch_topic": None,
    "watch_expires_at": None,
    "watch_renewed_at": None,
    "watch_tried_at": None,
    "watch_error": "",
}
"""Columns of an account that has no watch."""


def is_pushed(push: bool | None, topic: str) -> bool:
    """Whether changes are to be published of an account of which a person said `push`; `topic` is the deployment's, empty where
    it has none."""
    return bool(topic) and push is not False


def is_watched(account: Account, now: datetime) -> bool:
    """Whether Gmail publishes its changes, as far as is known."""
    return account.watch_expires_at is not None and account.watch_expires_at > now


def described(account: Account, topic: str, now: datetime) -> str:
    """Where an account stands, in a few words for people."""
    if not is_pushed(account.push, topic):
        return "off"
    if account.watch_expires_at is None:
        return f"no watch: {account.watch_error}" if account.watch_error else "no watch yet"
    until = f"{account.watch_expires_at:%Y-%m-%d %H:%M}"
    failed = f", not renewed: {account.watch_error}" if account.watch_error else ""
    return f"until {until}{failed}" if is_watched(account, now) else f"lapsed {until}{failed}"


class Watches:
    """The watches of one deployment; `Registry.watches` gives it. Every method is one transaction.

    An account is watched once a sync of it went well: then its credentials are known to open its own mailbox.
    """

    def __init__(
        self, reading: Callable[[], Engine], writing: Callable[[], Engine], now: Callable[[], datetime]
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._now = now

    def to_renew(self, topic: str) -> list[str]:
        """The accounts whose watches the run of a day renews, those left out that were renewed lately."""
        return self._find(_may_be_watched(topic) & (self._lapses() | ~self._is_renewed_lately(topic)))

    def due(self, topic: str) -> list[str]:
        """The accounts whose watches cannot wait for it: new ones, of another topic, lapsed, or about to lapse; and not those
        for which that was tried, and failed, a short while ago."""
        now = self._now()
        has_failed = accounts.c.watch_tried_at.is_not(None) & (accounts.c.watch_error != "")
        is_in_force = accounts.c.watch_expires_at > now
        rests = has_failed & case(
            (is_in_force, accounts.c.watch_tried_at > now - _RETRIED_AFTER),
            else_=accounts.c.watch_tried_at > now - _RETRIED_LATER_AFTER,
        )
        moves = accounts.c.watch_topic.is_distinct_from(topic)
        return self._find(_may_be_watched(topic) & or_(self._lapses(), moves) & ~rests)

    def to_stop(self, topic: str) -> list[str]:
        """The accounts that are watched and are not to be pushed any more."""
        now = self._now()
        unwanted = accounts.c.push.is_(False) if topic else accounts.c.push.is_not(None) | accounts.c.push.is_(None)
        rests = accounts.c.watch_tried_at.is_not(None) & (accounts.c.watch_tried_at > now - _RETRIED_AFTER)
        is_failing = (accounts.c.watch_error != "") & rests
        return self._find(_IS_SYNCED & (accounts.c.watch_expires_at > now) & unwanted & ~is_failing)

    def renewed(self, account_id: str, topic: str, expires_at: datetime, history_id: int) -> None:
        """Notes a watch, and that the mailbox stands at `history_id`: what a notification told beyond it was no change of this
        mailbox, and must not keep later ones from being heard."""
        now = self._now()
        told = case((accounts.c.push_history_id > history_id, None), else_=accounts.c.push_history_id)
        self._set(
            account_id,
            watch_topic=topic,
            watch_expires_at=expires_at,
            watch_renewed_at=now,
            watch_tried_at=now,
            watch_error="",
            push_history_id=told,
        )

    def failed(self, account_id: str, error: str) -> None:
        """Notes why a watch could not be renewed or ended; what is known of it stays."""
        self._set(account_id, watch_tried_at=self._now(), watch_error=error)

    def stopped(self, account_id: str) -> None:
        """Notes that an account has no watch any more."""
        self._set(account_id, **NO_WATCH)

    def _lapses(self) -> ColumnElement[bool]:
        soon = accounts.c.watch_expires_at <= self._now() + RENEWED_BEFORE
        return or_(accounts.c.watch_expires_at.is_(None), soon)

    def _is_renewed_lately(self, topic: str) -> ColumnElement[bool]:
        lately = accounts.c.watch_renewed_at > self._now() - RENEWED_LATELY
        return and_(
            accounts.c.watch_renewed_at.is_not(None), lately, accounts.c.watch_topic.is_not_distinct_from(topic)
        )

    def _find(self, wanted: ColumnElement[bool]) -> list[str]:
        with self._reading().begin() as connection:
            found = (
                select(accounts.c.account_id).where(wanted).order_by(accounts.c.watch_expires_at, accounts.c.account_id)
            )
            return [*connection.execute(found).scalars()]

    def _set(self, account_id: str, **values: object) -> None:
        """Of an account that was removed meanwhile nothing is noted."""
        is_this = (accounts.c.account_id == account_id) & (accounts.c.state != "removed")
        with self._writing().begin() as connection:
            connection.execute(update(accounts).where(is_this).values(**values))


_IS_SYNCED = accounts.c.state.in_(("active", "cooling_down"))


def _may_be_watched(topic: str) -> ColumnElement[bool]:
    wanted = or_(accounts.c.push.is_(None), accounts.c.push.is_(True))
    known = accounts.c.last_checked_at.is_not(None)
    return and_(_IS_SYNCED, wanted, known) if topic else and_(_IS_SYNCED, accounts.c.account_id.is_(None))
