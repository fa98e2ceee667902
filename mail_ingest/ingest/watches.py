"""Has Gmail publish the changes of accounts, renews that, and ends it.

What goes wrong is noted with the account, for people, and changes neither its state nor its syncs: those find out by
themselves what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts import Account
from mail_ingest.accounts.watches import is_watched
from mail_ingest.errors import CancelledError, ConfigError, GmailError, MailIngestError, stack_of
from mail_ingest.gmail import Patience, Purpose

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: Accounts whose calls are under way side by side: Gmail takes its time, and a day has ten thousand of them.
_AT_ONCE = 16
#: Who switches push off or removes an account should not wait for minutes; a watch ends by itself.
_SHORT = Patience(attempts=3, seconds=15.0)
_TAKEN = "Only one user push notification client"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done about one account's watch; `error` says why it failed."""

    account_id: str
    outcome: Literal["renewed", "stopped", "failed"]
    error: str = ""


def keep_watches(engine: Engine, *, only_due: bool = False) -> list[Kept]:
    """Renews the watches of all accounts that want one, and ends those that are not wanted any more.

    `only_due`: those alone that cannot wait for the next run of the day. Accounts that were renewed lately are left out, so that
    a run which is repeated costs nothing twice. One account's failure is its own. Memory: a line for each account.
    """
    watches, topic = engine.registry.watches, engine.settings.push_topic
    to_renew = watches.due(topic) if only_due else watches.to_renew(topic)
    engine.count_todays_units()
    kept = _for_each(engine, watches.to_stop(topic), stop_watch, "stopped")
    kept += _for_each(engine, to_renew, renew_watch, "renewed")
    engine.governor.budgets.settle()
    return kept


def renew_watch(engine: Engine, account: Account, purpose: Purpose = "scheduled") -> datetime:
    """Has Gmail publish an account's changes to the deployment's topic; until when. Raises what the client raises, and
    ConfigError where there is no topic."""
    topic = engine.settings.push_topic
    if not topic:
        raise ConfigError(
            "MAIL_INGEST_PUSH_TOPIC names no Pub/Sub topic that Gmail could publish to, such as "
            "projects/your-project/topics/gmail"
        )
    client = engine.client(account, purpose)
    if account.watch_topic not in (None, topic) and is_watched(account, datetime.now(UTC)):
        client.stop_watch()  # ours, on the topic of before: Gmail takes one topic for each project
    try:
        watch = client.watch(topic)
    except GmailError as error:
        if _TAKEN not in str(error):
            raise
        raise ConfigError(
            f"another program of the same Google project has the changes of {account.account_id} published to another topic, and "
            "Gmail allows for one: end that one (users.stop), or wait until it lapses"
        ) from None
    engine.registry.watches.renewed(account.account_id, topic, watch.expires_at, watch.history_id)
    return watch.expires_at


def stop_watch(engine: Engine, account: Account, purpose: Purpose = "scheduled") -> None:
    """Ends the publishing of an account's changes. Raises what the client raises."""
    engine.client(account, purpose, patience=_SHORT).stop_watch()
    engine.registry.watches.stopped(account.account_id)


def end_watch(engine: Engine, account: Account) -> str:
    """Ends an account's watch, if it has one, before the account's credentials go; why that failed, empty where it did not.
    Raises nothing: a watch that cannot be ended lapses within a week, and its notifications find no account."""
    if not is_watched(account, datetime.now(UTC)):
        return ""
    return _keep(engine, account.account_id, lambda: stop_watch(engine, account, "asked"))


def _for_each(
    engine: Engine,
    account_ids: Sequence[str],
    step: Callable[[Engine, Account], object],
    outcome: Literal["renewed", "stopped"],
) -> list[Kept]:
    def one(account_id: str) -> Kept:
        error = _keep(engine, account_id, lambda: step(engine, engine.registry.get(account_id)))
        return Kept(account_id, "failed" if error else outcome, error)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="watches") as threads:
        try:
            return list(threads.map(one, account_ids))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _keep(engine: Engine, account_id: str, step: Callable[[], object]) -> str:
    """Does it; why it failed, empty where it did not. The account shows it as well."""
    try:
        step()
        return ""
    except CancelledError:
        raise
    except MailIngestError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001  its message may quote an answer, its stack does not
        logger.error("unexpected %s about the watch of %s\n%s", type(error).__name__, account_id, stack_of(error))
        why = f"unexpected {type(error).__name__}; the log has the stack"
    logger.warning("the watch of %s could not be kept: %s", account_id, why)
    try:
        engine.registry.watches.failed(account_id, why)
    except (MailIngestError, SQLAlchemyError) as error:
        logger.warning("that could not be noted: %s", type(error).__name__)
    return why
