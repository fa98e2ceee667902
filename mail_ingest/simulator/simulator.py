"""The simulator as a program uses it: a server with accounts, switches, planned faults and a ledger."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from mail_ingest.simulator.answer_changes import AnswerChange, Change
from mail_ingest.simulator.consents import client_file
from mail_ingest.simulator.directory import Directory
from mail_ingest.simulator.faults import KINDS, Fault, FaultKind, Hook, HookHandle
from mail_ingest.simulator.grants import READONLY_SCOPE
from mail_ingest.simulator.ledger import Ledger
from mail_ingest.simulator.made.hour import pass_hour
from mail_ingest.simulator.mail.access import full_scope
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.push import Notification
from mail_ingest.simulator.quota import QuotaProfile
from mail_ingest.simulator.secret_store import SecretStore
from mail_ingest.simulator.switches import Switches
from mail_ingest.simulator.wire.server import Server
from mail_ingest.simulator.world import DEFAULT_PROJECT, make_world

_SWITCHES = frozenset(Switches.__slots__)


class Simulator:
    """A local Gmail. As a context manager it serves from a thread on a free loopback port.

    `clock` gives epoch seconds and drives dates, token life, quota windows and retention. Attributes named like those
    of `Switches` are switches: `gmail.inner_label_ids = "current"`.
    """

    __slots__ = ("_port", "_server", "world")

    def __init__(
        self,
        port: int = 0,
        *,
        quota: str | QuotaProfile = "2026",
        clock: Callable[[], float] = time.time,
        project: str = DEFAULT_PROJECT,
        concurrency_limit: int = 48,
        latency_s: float = 0.0,
        history_retention_s: float | None = None,
    ) -> None:
        self.world = make_world(
            quota=quota,
            clock=clock,
            project=project,
            concurrency_limit=concurrency_limit,
            latency_s=latency_s,
            history_retention_s=history_retention_s,
        )
        self._port = port
        self._server: Server | None = None

    # serving

    def start(self) -> Self:
        if self._server is None:
            self._server = Server(self.world, self._port)
            self._server.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Root of the API, `http://127.0.0.1:PORT`."""
        return self.world.url

    @property
    def token_uri(self) -> str:
        return f"{self.url}/token"

    # accounts

    def add_account(self, address: str) -> Mailbox:
        return self.world.add_account(address)

    def account(self, address: str) -> Mailbox:
        return self.world.accounts[address]

    @property
    def accounts(self) -> dict[str, Mailbox]:
        return dict(self.world.accounts)

    def pass_hour(self, *, messages: int = 10, label_changes: int = 5, deletions: int = 1, seed: int = 1) -> None:
        """Every mailbox gets so many generated messages, label changes and deletions, now."""
        boxes = list(self.world.accounts.values())
        pass_hour(boxes, messages=messages, label_changes=label_changes, deletions=deletions, seed=seed)

    def service_account(
        self, scopes: Iterable[str] = (READONLY_SCOPE,), subjects: Iterable[str] | None = None
    ) -> dict[str, str]:
        """A key file for a service account with domain-wide delegation of these scopes, for these users (None: all)."""
        with self.world.lock:
            return self.world.grants.service_accounts.make(
                self.token_uri, self.world.project, map(full_scope, scopes), subjects
            )

    def oauth_client(self) -> dict[str, dict[str, Any]]:
        """The file of an OAuth client of type desktop app, as Google's console gives it, with this server's endpoints."""
        return client_file(self.url, self.world.project)

    @property
    def directory(self) -> Directory:
        """The people of the Workspace, whom a service account may list in an administrator's name."""
        return self.world.directory

    @property
    def secrets(self) -> SecretStore:
        return self.world.secrets

    # the ledger

    @property
    def requests(self) -> Ledger:
        return self.world.ledger

    def units(self, account: str | None = None) -> int:
        """Quota units charged since the last reset."""
        return self.world.ledger.units(account)

    def calls(self, method: str | None = None, account: str | None = None, status: int | None = None) -> int:
        """Calls served since the last reset, refusals included."""
        return self.world.ledger.calls(method, account, status)

    def reset_ledger(self) -> None:
        self.world.ledger.reset()

    def publish_to(self, publisher: Callable[[Notification], None] | None) -> None:
        """Hands each notification to a publisher from now on, such as `pubsub.Publisher` of an emulator; to nobody with None."""
        with self.world.lock:
            self.world.notifications.publisher = publisher

    @property
    def notifications(self) -> list[Notification]:
        """Push notifications published so far, oldest first; `publish_to` has them published for good."""
        with self.world.lock:
            return list(self.world.notifications)

    def advance(self, seconds: float) -> None:
        """Moves the simulator's clock on: tokens expire, quota windows and watches end."""
        self.world.clock.advance(seconds)

    # disturbances

    def fail_next(
        self,
        *,
        kind: FaultKind = "error",
        status: int = 429,
        reason: str = "rateLimitExceeded",
        message: str | None = None,
        method: str | None = None,
        account: str | None = None,
        message_id: str | None = None,
        times: int = 1,
        after: int = 0,
        retry_after: datetime | None = None,
        retry_after_header: int | None = None,
        window_start: bool = False,
        seconds: float = 1.0,
    ) -> Fault:
        """Plans a failure for the next matching calls: `times` of them (-1: all), once `after` others have passed.

        `method` is as in `messages.get`; `token` means the token endpoint and `batch` a whole batch. `message_id`
        matches the id in the path. Kinds: `error` (status and reason; with `retry_after` the text names that moment,
        with `window_start` it is the refusal of an exhausted minute), `drop` (the connection closes without an answer),
        `truncate` (half the announced body), `slow` (answers after `seconds`), `html503` (a 503 with an HTML page),
        `timeout` (no answer at all). Returns the fault; `served` on it counts how often it struck.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind of fault {kind!r}: one of {', '.join(KINDS)}")
        fault = Fault(
            kind, status, reason, message, method, account, message_id, times, after, retry_after, retry_after_header,
            window_start, seconds,
        )  # fmt: skip
        with self.world.lock:
            self.world.disturbances.faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        with self.world.lock:
            self.world.disturbances.faults.clear()

    def change_answers(
        self, path: str, change: Change, to: Any = "added", *, account: str | None = None, message_id: str | None = None
    ) -> None:
        """Lets a field of answers differ from the documentation, from the next request on.

        `path` names method and field, through lists as through objects: `history.list.history.labelsAdded.labelIds`.
        Changes: `add` (a field with the value `to`), `remove`, `rename` (to the name `to`), `replace` (by `to`), and
        `number`, `string`, `object` and `list`, which turn the value into another kind. `message_id` matches the id in the
        path of the request.
        """
        planned = AnswerChange(path, change, to, account, message_id)
        with self.world.lock:
            self.world.answer_changes.append(planned)

    def restore_answers(self) -> None:
        """Answers are as documented again."""
        with self.world.lock:
            self.world.answer_changes.clear()

    def before(self, method: str | None, hook: Hook, *, account: str | None = None, times: int | None = None,
               after: int = 0) -> HookHandle:  # fmt: skip
        """Runs a function just before matching calls are answered (`times` of them, None: all; once `after` passed).

        The function takes nothing, or the `Call`. It runs in a thread of its own and may change mailboxes or wait.
        """
        return self._hook(self.world.disturbances.before, method, hook, account, times, after)

    def after(self, method: str | None, hook: Hook, *, account: str | None = None, times: int | None = None,
              after: int = 0) -> HookHandle:  # fmt: skip
        """The same, when the answer is made but not sent yet.

        A function that takes two arguments gets the answer's body as well: bytes, or None where there is no whole answer
        of status 200.
        """
        return self._hook(self.world.disturbances.after, method, hook, account, times, after)

    def _hook(self, hooks: list[HookHandle], method: str | None, hook: Hook, account: str | None, times: int | None,
              after: int) -> HookHandle:  # fmt: skip
        with self.world.lock:
            handle = HookHandle(hook, method, account, times, after, hooks)
            hooks.append(handle)
            return handle

    # switches

    def __getattr__(self, name: str) -> object:
        if name in _SWITCHES:
            return getattr(self.world.switches, name)
        raise AttributeError(name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _SWITCHES:
            setattr(self.world.switches, name, set(value) if name == "extra_labels" else value)  # type: ignore[call-overload]
        else:
            super().__setattr__(name, value)
