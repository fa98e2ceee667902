"""One call of Gmail until it is answered: waits, repeats and gives up here and nowhere else."""

from __future__ import annotations

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
    ConcurrencyError,
    ConfigError,
    GmailError,
    QuotaError,
    ServerError,
)
from mail_ingest.gmail.answers import MalformedAnswerError
from mail_ingest.gmail.governor import QuotaGovernor
from mail_ingest.gmail.ledger import Usage
from mail_ingest.gmail.quota import WINDOW_S
from mail_ingest.gmail.refusals import Refusal, Remedy, classify
from mail_ingest.gmail.service import Request
from mail_ingest.gmail.transport import NetworkError, Response, TokenSource, Transport

T = TypeVar("T")

_FAR_S = 120.0
_LONGEST_BACKOFF_S = 64.0
_MALFORMED_ATTEMPTS = 3
_WINDOW_ATTEMPTS = 3
_CROWDED_ATTEMPTS = 10

MALFORMED = "malformedAnswer"
NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long passing failures are put up with: tries of one call, and seconds from its first failure."""

    attempts: int = 8
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for: the quota's name of the method, the id it is about, and what a 404 means there."""

    method: str
    about: str = ""
    gone: type[GmailError] = GmailError


class RefusedError(Exception):
    """Carries an unsuccessful answer through the Google client."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class Exchange:
    """The `http` of one attempt: adds the token, guards where the request goes, and judges the answer's status."""

    def __init__(self, transport: Transport, url: str, token: str, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._root = f"{url}/gmail/v1/users/me/"
        self._token = token
        self._clock = clock
        self.wire_bytes = 0

    def request(
        self, uri: str, method: str, body: str | None, headers: dict[str, str]
    ) -> tuple[Response, bytes]:
        reads = method == "GET" or (method == "POST" and headers.get("x-http-method-override") == "GET")
        if not reads or not uri.startswith(self._root):
            raise ConfigError(
                f"refused to send {method} {uri.split('?', 1)[0]}: only reads of {self._root} leave"
            )
        response, content = self._transport.request(
            uri, method, body, {**headers, "authorization": f"Bearer {self._token}"}
        )
        self.wire_bytes = response.wire_bytes
        if not 200 <= response.status < 300:
            raise RefusedError(classify(response.status, response, content, now=self._clock()))
        return response, content


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
        max_in_flight: int,
        patience: Patience,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._account_id = account_id
        self._token = token
        self._url = url
        self._governor = governor
        self._transport = transport
        self._in_flight = governor.in_flight(account_id, max_in_flight)
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._rand = rand
        self._refreshing = threading.Lock()

    def run(self, call: Call, request: Request, read: Callable[[object], T]) -> T:
        """The answer to `request`, read by `read`, after as many tries as the refusals deserve. Raises GmailError."""
        tries = _Tries(began=self._clock())
        while True:
            token = self._good_token(call, tries)
            if token is None:
                continue
            exchange = Exchange(self._transport, self._url, token, self._clock)
            with self._in_flight.slot() as mark:
                self._governor.acquire(self._account_id, call.method)
                try:
                    answer = read(request.execute(exchange))
                except RefusedError as error:
                    refusal = error.refusal
                except NetworkError as error:
                    refusal = Refusal(Remedy.REPEAT, 0, NETWORK, str(error))
                    if error.permanent:
                        self._fail(
                            ServerError, call, refusal, "check the address and the server's certificate"
                        )
                except MalformedAnswerError as error:
                    refusal = Refusal(Remedy.REPEAT, 200, MALFORMED, str(error))
                else:
                    self._in_flight.went_well()
                    return answer
                finally:
                    self._governor.ledger.add(self._account_id, call.method, Usage(bytes=exchange.wire_bytes))
            if refusal.remedy is Remedy.FEWER_AT_ONCE:
                self._in_flight.refused(mark)
            self._prepare_next(call, refusal, tries, token)

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
                self._fail(
                    AuthError, call, refusal, "connect the account again with the scope gmail.readonly"
                )
            case Remedy.PARK:
                self._fail(AccountError, call, refusal, "the account stays parked until this is settled")
            case Remedy.GONE:
                self._fail(call.gone, call, refusal, "it does not exist any more")
            case Remedy.GIVE_UP:
                self._fail(GmailError, call, refusal, "the same call would be refused again")

    def _back_off(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        tries.failed += 1
        tries.malformed += refusal.reason == MALFORMED
        wait_s = self._rand() * min(2.0 ** (tries.failed - 1), _LONGEST_BACKOFF_S)
        if refusal.retry_at is not None:
            wait_s = max(wait_s, refusal.retry_at - self._clock())
        spent_s = self._clock() - tries.began
        if (
            tries.failed >= self._patience.attempts
            or tries.malformed >= _MALFORMED_ATTEMPTS
            or spent_s + wait_s > self._patience.seconds
        ):
            self._fail(
                ServerError,
                call,
                refusal,
                f"gave up after {tries.failed} tries; it is worth trying again later",
            )
        self._sleep(wait_s)

    def _make_room(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        tries.crowded += 1
        if tries.crowded >= _CROWDED_ATTEMPTS:
            self._fail(
                ConcurrencyError,
                call,
                refusal,
                "other clients of this mailbox leave no room; try again later",
            )
        self._sleep((1.0 + self._rand()) * min(2.0 ** max(tries.crowded - 4, 0), 16.0))

    def _wait_for_quota(self, call: Call, refusal: Refusal, tries: _Tries) -> None:
        """Closes the quota for every call of the account (or project); the next `acquire` then waits, or raises."""
        tries.out_of_quota += 1
        now = self._clock()
        if refusal.remedy is Remedy.WAIT_FOR_DAY:
            until = self._governor.day_ends_at().timestamp()
        elif refusal.retry_at is not None:
            until = max(refusal.retry_at, now + 1.0)
        else:
            left = (refusal.window_start or 0.0) + WINDOW_S - now
            until = now + (left if 0 < left <= WINDOW_S else WINDOW_S)
        self._governor.refused(
            self._account_id, call.method, until=until, whole_project=refusal.whole_project
        )
        if until - now > _FAR_S or tries.out_of_quota >= _WINDOW_ATTEMPTS:
            resume_at = datetime.fromtimestamp(until, UTC)
            raise QuotaError(
                self._text(call, refusal, f"work resumes at {resume_at:%Y-%m-%d %H:%M:%S} UTC"),
                resume_at=resume_at,
                account_id=self._account_id,
                reason=refusal.reason,
                status=refusal.status,
            )

    def _refresh(self, call: Call, refusal: Refusal, tries: _Tries, refused: str) -> None:
        """Gets another token, once per call; threads that were refused together refresh together."""
        if tries.refreshed:
            self._fail(AuthError, call, refusal, "connect the account again")
        tries.refreshed = True
        with self._refreshing:
            if self._token.token() == refused:
                self._token.token(force_refresh=True)

    def _good_token(self, call: Call, tries: _Tries) -> str | None:
        """The token to use, or None after a passing failure of the token server that was waited out."""
        try:
            return self._token.token()
        except ServerError as error:
            self._back_off(call, Refusal(Remedy.REPEAT, error.status, "tokenServer", str(error)), tries)
            return None

    def _fail(self, kind: type[GmailError], call: Call, refusal: Refusal, advice: str) -> NoReturn:
        raise kind(
            self._text(call, refusal, advice),
            account_id=self._account_id,
            reason=refusal.reason,
            status=refusal.status,
        ) from None

    def _text(self, call: Call, refusal: Refusal, advice: str) -> str:
        what = f"{call.method} of {call.about}" if call.about else call.method
        answer = " ".join(str(part) for part in (refusal.status or "", refusal.reason, refusal.text) if part)
        return f"{what} for {self._account_id}: {answer or 'no answer'}; {advice}"


@dataclass(slots=True)
class _Tries:
    """What one call has been through so far."""

    began: float
    failed: int = 0
    malformed: int = 0
    crowded: int = 0
    out_of_quota: int = 0
    refreshed: bool = False
