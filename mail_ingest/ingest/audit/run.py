"""One account's audit from end to end: what costs nothing first, then the mailbox within the budget."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.errors import WrongMailboxError
from mail_ingest.gmail import Purpose
from mail_ingest.ingest.audit.budget import Budget
from mail_ingest.ingest.audit.contents import audit_at_gmail, audit_contents
from mail_ingest.ingest.audit.report import Audit
from mail_ingest.ingest.audit.states import StateAudit
from mail_ingest.ingest.privacy import private_labels

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

#: Gmail keeps history "typically at least a week" (developers.google.com/workspace/gmail/api/guides/sync).
AT_RISK_AFTER = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """`sample` messages are read at Gmail, 20 units each; `archive_sample` in the raw archive, for nothing. `max_units`
    bounds the whole audit of one account; None does not. `purpose`: whether a person waits for it."""

    sample: int = 0
    max_units: int | None = None
    archive_sample: int = 50
    purpose: Purpose = "asked"


def audit_account(engine: Engine, account: Account, options: AuditOptions) -> Audit:
    """Audits one account; the states under its lock. Without a budget it costs what a full sync of state does.

    Raises what the client raises, BusyError, and WrongMailboxError before anything is compared with the mailbox.
    """
    with engine.warehouse.keep_open():
        return _audit(engine, account, options)


def _audit(engine: Engine, account: Account, options: AuditOptions) -> Audit:
    audit = Audit(account.account_id)
    budget = Budget(engine.governor, account.account_id, options.max_units)
    policy = engine.registry.policy(account)
    audit_contents(engine, audit, budget, options.archive_sample, policy)
    client = engine.client(account, options.purpose)
    with engine.locks.hold(f"account:{account.account_id}"):
        cursor = engine.cursor(account)  # finishes a load that an earlier process left pending
        if cursor is None:
            budget.left_out.append("the mailbox: it was never synced")
        elif budget.reaches("the mailbox", "getProfile", 2) and budget.reaches("messages and labels", "labels.list", 2):
            profile = client.get_profile()
            if profile.email_address.lower() != account.account_id:
                raise WrongMailboxError(
                    f"The credentials of {account.account_id} open the mailbox {profile.email_address.lower()}; nothing "
                    "was compared. Connect the account again with credentials of its own mailbox.",
                    account_id=account.account_id,
                )
            states = StateAudit(
                client,
                engine.queries,
                audit,
                budget,
                cursor=cursor,
                profile=profile,
                labels=[private_labels(policy)(account.account_id, label) for label in client.list_labels()],
            )
            states.run(engine.governor.profile.costs["history.list"])
            audit.cursor_at_risk = profile.history_id != cursor.history_id
        if cursor is not None:
            checked_at = max(cursor.observed_at, account.last_checked_at or cursor.observed_at)
            age = datetime.now(UTC) - checked_at
            audit.cursor_history_id, audit.cursor_checked_at = cursor.history_id, checked_at
            audit.cursor_age_s = age.total_seconds()
            audit.cursor_at_risk = audit.cursor_at_risk and age > AT_RISK_AFTER
    if cursor is not None:
        audit_at_gmail(engine, client, audit, budget, options.sample, policy)
    now = datetime.now(UTC)
    backlog = engine.queries.count_backlog(account.account_id, engine.content_scope(account), now)
    audit.backlog, audit.out_of_scope = backlog.due + backlog.waiting, backlog.out_of_scope
    audit.unresolved_failures = engine.queries.unresolved_failures(account.account_id)
    audit.dead_letters = engine.queries.count_dead_letters(account.account_id)
    audit.left_out_messages = engine.queries.count_left_out(account.account_id)
    audit.units, audit.left_out = budget.units, budget.left_out
    return audit
