"""One call of Gmail until it is answered: waits, repeats and gives up here and nowhere else."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from mail_ingest.errors import (
    AccountError,
    AuthError,
    ChangedAnswerError,
    ConcurrencyError,
    GmailError,
    QuotaError,
    ServerError,
)
from mail_ingest.gmail.contract import ChangedAnswerFieldError, MalformedAnswerError, Notice
from mail_ingest.gmail.exchange import Exchange, RefusedError
from mail_ingest.gmail.findings import Findings
from mail_ingest.gmail.governor import QuotaGovernor
from mail_ingest.gmail.ledger import Usage
from mail_ingest.gmail.quota import WINDOW_S
from mail_ingest.gmail.refusals import Refusal, Remedy
from mail_ingest.gmail.service import Request
from mail_ingest.gmail.transport import Admit, NetworkError, TokenSource, Transport

logger = logging.getLogger(__name__)

T = TypeVar("T")

MALFORMED = "malformedAnswer"
"""`reason` of a ServerError about an answer that came, with status 200, and could not be read."""

LARGEST_PAGE = 64_000_000
"""Bytes above which an answer is given up that is no message: a full page of history has less than a tenth of it."""

_HOLDS_MAIL = ("messages.get",)
_CHANGED = "changedAnswer"

_FAR_S = 120.0
_CLOCK_SKEW_S = 0.5  # Gmail's clock and ours differ a little; too early costs another refusal
_LONGEST_BACKOFF_S = 64.0
_LONGEST_CROWDED_S = 16.0
_MALFORMED_ATTEMPTS = 3
_WINDOW_ATTEMPTS = 3
_CROWDED_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How long passing failures are put up with: tries of one call, and seconds from its first failure."""

    attempts: int = 8
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for: the quota's name of the method, the id it is about, and what a 404 is there."""

    method: str
    about: str = ""
    gone: type[GmailError] = GmailError
    gone_means: str = "it does not exist"

    def __str__(self) -> str:
        return f"{self.method} of {self.about}" if self.about else self.method


class Caller:
    """Makes one account's calls. Shared by threads."""

    def __init__(
        self,
        account_id: str,
        *,
        token: TokenSource,
        url: str,
        governor: QuotaGovernor,
        transport: Transport,
        findings: Findings,
        max_in_flight: int,
        patience: Patience,
        before_call: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._account_id = account_id
        self._token = token
        self._url = url
        self._governor = governor
        self._transport = transport
        self._findings = findings
        self._in_flight = governor.in_flight(account_id, max_in_flight)
        self._patience = patience
        self._before_call = before_call
        self._clock = clock
        self._sleep = sleep
        self._rand = rand
        self._refreshing = threading.Lock()

    def run(
        self,
        call: Call,
        request: Request,
        read: Callable[[object, Notice], T],
        admit: Admit | None = None,
        patience: Patience | None = None,
    ) -> T:
        """The answer to `request`, read by `read`, after as many tries as the refusals deserve. Raises GmailError.

        `read` also gets whom to tell what differs from the contract.
        `admit` is asked before a large body is read. `patience` is this call's own.
        """
        tries = _Tries(patience or self._patience)
        while True:
            self._before_call()
            try:
                token = self._token.token()
            except ServerError as error:
                self._back_off(call, _token_failure(error), tries)
                continue
            outcome = self._attempt(call, request, read, token, admit)
            if not isinstance(outcome, Refusal):
                return outcome
            self._prepare_next(call, outcome, tries, token)

    def _attempt(
        self, call: Call, request: Request, read: Callable[[object, Notice], T], token: str, admit: Admit | None
    ) -> T | Refusal:
        """One request sent: its answer, or why there is none."""
        largest = None if call.method in _HOLDS_MAIL else LARGEST_PAGE
        exchange = Exchange(self._transport, self._url, token, self._clock, admit, largest)
        with self._in_flight.slot() as mark:
            self._governor.acquire(self._account_id, call.method)
            try:
                answer = read(request.execute(http=exchange), self._findings.add)
            except RefusedError as error:
                if error.refusal.remedy is Remedy.FEWER_AT_ONCE:
                    self._in_flight.refused(mark)
                return error.refusal
            except NetworkError as error:
                return Refusal(Remedy.UNREACHABLE if error.permanent else Remedy.REPEAT, 0, "network", str(error))
            except ChangedAnswerFieldError as error:
                self._findings.add((str(error),))
                return Refusal(Remedy.REPEAT, 200, _CHANGED, str(error))
            except MalformedAnswerError as error:
                return Refusal(Remedy.REPEAT, 200, MALFORMED, str(error))
            finally:
                self._governor.ledger.add(self._account_id, call.method, Usage(bytes=exchange.wire_bytes))
            self._in_flight.went_well()
            return answer

    def _prepare_next(self, call: Call, refusal: Refusal, tries: _Tries, token: str) -> None:
        """Waits as the refusal asks for; raises where another try is pointless."""
        match refusal.remedy:
            case Remedy.REPEAT:
                self._back_off(call, refusal, tries)
            case Remedy.FEWER_AT_ONCE:
                self._make_room(call, refusal, tries)
            case Remedy.WAIT_FOR_WINDOW | Remedy.WAIT_UNTIL | Remedy.WAIT_FOR_DAY:
                self._wait_for_quota(call, refusal, tries)
            case Remedy.REFRESH_TOKEN:
                self._refresh(call, refusal, tries, token)
            case Remedy.RECONNECT:
                self._fail(AuthError, call, refusal, "connect the account again with the scope gmail.readonly")
            case Remedy.PARK:
                self._fail(AccountError, call, refusal, "no call of this account can succeed until this is settled")
            case Remedy.GONE:
                self._fail(call.gone, call, refusal, call.gone_means)
            case Remedy.UNREACHABLE:
                self._fail(ServerError, call, refusal, "check the address and the certificate of the server")
            case Remedy.GIVE_UP:
                self._fail(GmailError, call, refusal, "the same call would be refused again")

    def _back_off(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        """Full jitter under 1, 2, 4 ... 64 s, or what the server asks for."""
        now = self._clock()
        if tries.failing_since is None:
            tries.failing_since = now
        tries.failed += 1
        tries.malformed += refusal.reason in (MALFORMED, _CHANGED)
        wait_s = self._rand() * min(2.0 ** (tries.failed - 1), _LONGEST_BACKOFF_S)
        wait_s = max(wait_s, self._asked_wait_s(refusal))
        if (
            tries.failed >= tries.patience.attempts
            or tries.malformed >= _MALFORMED_ATTEMPTS
            or now - tries.failing_since + wait_s > tries.patience.seconds
        ):
            if refusal.reason == _CHANGED:
                self._fail_for_good(call, refusal)
            self._fail(ServerError, call, refusal, f"gave up after {tries.failed} tries; worth trying again later")
        self._wait(call, refusal, wait_s)

    def _make_room(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        """Waits 1 to 2 s while fewer calls are let through; longer when that does not help."""
        self._governor.ledger.add(self._account_id, call.method, Usage(refusals=1))
        tries.crowded += 1
        if tries.crowded >= _CROWDED_ATTEMPTS:
            self._fail(ConcurrencyError, call, refusal, "other clients of this mailbox leave no room; try again later")
        longer = min(2.0 ** max(tries.crowded - 4, 0), _LONGEST_CROWDED_S)
        asked_s = min(self._asked_wait_s(refusal), _FAR_S)
        self._wait(call, refusal, max((1.0 + self._rand()) * longer, asked_s))

    def _wait_for_quota(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        """Closes the quota for every call of the account (or project); the next `acquire` then waits, or raises."""
        self._governor.ledger.add(self._account_id, call.method, Usage(refusals=1))
        tries.out_of_quota += 1
        now = self._clock()
        until = self._quota_returns_at(refusal, now)
        self._governor.refused(self._account_id, until=until, whole_project=refusal.whole_project)
        if until - now > _FAR_S or tries.out_of_quota >= _WINDOW_ATTEMPTS:
            resume_at = datetime.fromtimestamp(until, UTC)
            raise QuotaError(
                self._text(call, refusal, f"work resumes at {resume_at:%Y-%m-%d %H:%M:%S} UTC"),
                resume_at=resume_at,
                account_id=self._account_id,
                reason=refusal.reason,
                status=refusal.status,
            )
        logger.info("%s for %s: out of quota, next try in %.1f s", call, self._account_id, until - now)

    def _quota_returns_at(self, refusal: Refusal, now: float) -> float:
        if refusal.remedy is Remedy.WAIT_FOR_DAY:
            return self._governor.day_ends_at().timestamp()
        if refusal.retry_at is not None:
            return max(refusal.retry_at, now + 1.0)
        left_s = (refusal.window_start or 0.0) + WINDOW_S - now
        if not -WINDOW_S < left_s <= WINDOW_S:
            return now + WINDOW_S
        return now + max(left_s, 0.0) + _CLOCK_SKEW_S

    def _refresh(self, call: Call, refusal: Refusal, tries: _Tries, refused: str) -> None:
        """Gets another token, once per call; threads that were refused together refresh together."""
        if tries.refreshed:
            self._fail(AuthError, call, refusal, "connect the account again")
        try:
            with self._refreshing:
                if self._token.token() == refused:
                    self._token.token(force_refresh=True)
        except ServerError as error:
            self._back_off(call, _token_failure(error), tries)
        else:
            tries.refreshed = True

    def _asked_wait_s(self, refusal: Refusal) -> float:
        return 0.0 if refusal.retry_at is None else refusal.retry_at - self._clock()

    def _wait(self, call: Call, refusal: Refusal, wait_s: float) -> None:
        logger.info("%s, next try in %.1f s", self._text(call, refusal), wait_s)
        self._governor.ledger.add(self._account_id, call.method, Usage(waited_s=wait_s))
        self._sleep(wait_s)

    def _fail_for_good(self, call: Call, refusal: Refusal) -> NoReturn:
        raise ChangedAnswerError(
            f"{call} for {self._account_id}: Gmail's answer has changed: {refusal.text}. This version of mail_ingest cannot "
            "read it, and nothing of it was stored: update mail_ingest, or report this if there is no newer version. What "
            "could not be read is asked for again",
            account_id=self._account_id,
            reason=refusal.text,
            status=refusal.status,
        )

    def _fail(self, kind: type[GmailError], call: Call, refusal: Refusal, advice: str) -> NoReturn:
        raise kind(
            self._text(call, refusal, advice),
            account_id=self._account_id,
            reason=refusal.reason,
            status=refusal.status,
        )

    def _text(self, call: Call, refusal: Refusal, advice: str = "") -> str:
        answer = " ".join(str(part) for part in (refusal.status or "", refusal.reason, refusal.text) if part)
        return f"{call} for {self._account_id}: {answer}" + (f"; {advice}" if advice else "")


@dataclass(slots=True)
class _Tries:
    """What one call has been through so far, and how much it may go through."""

    patience: Patience
    failing_since: float | None = None
    failed: int = 0
    malformed: int = 0
    crowded: int = 0
    out_of_quota: int = 0
    refreshed: bool = False


def _token_failure(error: ServerError) -> Refusal:
    return Refusal(Remedy.REPEAT, error.status, error.reason, str(error))
