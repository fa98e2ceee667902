"""Errors, grouped by what the caller should do.

    MailIngestError
      ConfigError              fix a setting or an argument; nothing was done (exit code 2)
      BusyError                another process holds what is needed; try later (exit code 3)
      WarehouseError           the warehouse or the raw archive could not be written (disk full, damaged file)
      BudgetStoreError         the budget that processes share could not be read or written; each goes on by itself
      CancelledError           somebody asked the sync to end; what was loaded stays
      SweepRefusedError        a sweep came back too short to be believed; a person decides
      GmailError               Gmail answered with something that stops this account
        AuthError              a person must connect the account again (state `needs_reauth`)
        AccountError           no Gmail behind this identity, or a domain policy: park the account
        WrongMailboxError      the credentials open another mailbox than the account's
        QuotaError             out of quota until `resume_at`
        ConcurrencyError       too many requests in flight for this mailbox; fewer, in a moment
        ServerError            Gmail or the network failed in a passing way, longer than we retry
        HistoryExpiredError    the cursor is older than Gmail's history: sweep
        MessageGoneError       the message does not exist any more: a deletion, not a failure
        ChangedAnswerError     an answer lacks a field that is relied upon, or has it in another kind: update the package
        UnreadableAnswerError  an answer about one message that our own code could not deal with

Every message says what was attempted, on which account and id, what came back, and what to do next. It never holds a
token, a subject, text of a mail or a correspondent's address: account addresses and Gmail's ids are all that may appear.
"""

from __future__ import annotations

import traceback
from datetime import datetime


class MailIngestError(Exception):
    """Base of every error that mail_ingest raises on purpose."""


class ConfigError(MailIngestError):
    """A setting or an argument is wrong; found before anything was started."""


class BusyError(MailIngestError):
    """Another process held an account, a pipeline or the warehouse for longer than we were told to wait."""


class WarehouseError(MailIngestError):
    """The warehouse or the raw archive could not be read or written."""


class PackageRefusedError(WarehouseError):
    """The warehouse refused rows of a load package, and would refuse them again."""


class BudgetStoreError(MailIngestError):
    """The budget of a project that processes share could not be read or written."""


class CancelledError(MailIngestError):
    """Somebody asked a sync to end, by a signal or in the control database, and it has reached a safe point."""


class SweepRefusedError(MailIngestError):
    """A sweep returned far fewer messages than the mailbox claims to hold, so no deletion is inferred from it."""


class GmailError(MailIngestError):
    """Gmail answered in a way that ends the work on one account.

    `reason` is Gmail's own word (`errors[0].reason`) where it gave one; `status` the HTTP status, 0 without an answer.
    """

    def __init__(self, message: str, *, account_id: str = "", reason: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.account_id = account_id
        self.reason = reason
        self.status = status


class AuthError(GmailError):
    """The credentials are no longer good: a person must connect the account again."""


class AccountError(GmailError):
    """The identity has no Gmail, or its domain forbids API access."""


class WrongMailboxError(AccountError):
    """The credentials open another mailbox than the account's. Nothing was read from it or written for it."""


class QuotaError(GmailError):
    """Gmail refuses work until `resume_at` (aware, UTC)."""

    def __init__(
        self, message: str, *, resume_at: datetime, account_id: str = "", reason: str = "", status: int = 0
    ) -> None:
        super().__init__(message, account_id=account_id, reason=reason, status=status)
        self.resume_at = resume_at


class ConcurrencyError(GmailError):
    """Too many requests in flight for one mailbox, also after slowing down."""


class ServerError(GmailError):
    """Gmail or the network failed in a passing way for longer than the client retries."""


class HistoryExpiredError(GmailError):
    """Gmail no longer has the history that starts at the cursor."""


class MessageGoneError(GmailError):
    """The message does not exist any more."""


class ChangedAnswerError(GmailError):
    """Gmail's answer has another shape than this version knows how to read; `reason` names the field and its kind."""


class UnreadableAnswerError(GmailError):
    """Reading the answer about one message ended in an exception that nobody foresaw; `reason` is its class."""


def stack_of(error: BaseException) -> str:
    """Where an exception that nobody foresaw was raised, for a log: without its message, which may quote mail."""
    return "".join(traceback.format_tb(error.__traceback__))
