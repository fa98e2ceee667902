"""Everything that one simulator consists of, apart from its server."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock

from mail_ingest.simulator.answer_changes import AnswerChange
from mail_ingest.simulator.clock import Clock
from mail_ingest.simulator.consents import Consents
from mail_ingest.simulator.directory import Directory
from mail_ingest.simulator.faults import Disturbances
from mail_ingest.simulator.grants import Grants
from mail_ingest.simulator.ledger import Ledger
from mail_ingest.simulator.mail.labels import LabelSets
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.push import Published
from mail_ingest.simulator.quota import PROFILES, QuotaMeter, QuotaProfile
from mail_ingest.simulator.secret_store import SecretStore
from mail_ingest.simulator.service_accounts import ServiceAccounts
from mail_ingest.simulator.switches import Switches

DEFAULT_PROJECT = "123456789012"


@dataclass(slots=True)
class World:
    """Accounts, tokens, quota, switches and records of one server, guarded by one lock."""

    clock: Clock
    project: str
    concurrency_limit: int
    quota: QuotaMeter
    grants: Grants
    ledger: Ledger
    lock: RLock
    switches: Switches = field(default_factory=Switches)
    disturbances: Disturbances = field(default_factory=Disturbances)
    answer_changes: list[AnswerChange] = field(default_factory=list)
    accounts: dict[str, Mailbox] = field(default_factory=dict)
    label_sets: LabelSets = field(default_factory=LabelSets)
    directory: Directory = field(default_factory=Directory)
    secrets: SecretStore = field(default_factory=SecretStore)
    notifications: Published = field(default_factory=Published)
    latency_s: float = 0.0
    history_retention_s: float | None = None
    url: str = ""

    def add_account(self, address: str) -> Mailbox:
        with self.lock:
            if address in self.accounts:
                raise ValueError(f"{address} exists already")
            box = Mailbox(
                address,
                lock=self.lock,
                clock=self.clock,
                switches=self.switches,
                label_sets=self.label_sets,
                grants=self.grants,
                token_uri=lambda: f"{self.url}/token",
                published=self.notifications,
            )
            self.accounts[address] = box
            return box

    def apply_retention(self, box: Mailbox) -> None:
        """Forgets history that is older than the retention, if there is one."""
        if self.history_retention_s is not None:
            box.state.history.expire_before(self.clock() - self.history_retention_s)


def make_world(
    *,
    quota: str | QuotaProfile = "2026",
    clock: Callable[[], float] = time.time,
    project: str = DEFAULT_PROJECT,
    concurrency_limit: int = 48,
    latency_s: float = 0.0,
    history_retention_s: float | None = None,
) -> World:
    """A world without accounts."""
    profile = PROFILES.get(quota) if isinstance(quota, str) else quota
    if profile is None:
        raise ValueError(f"unknown quota {quota!r}: one of {', '.join(PROFILES)}")
    lock = RLock()
    movable = Clock(clock)
    return World(
        clock=movable,
        project=project,
        concurrency_limit=concurrency_limit,
        quota=QuotaMeter(project, profile, movable),
        grants=Grants(movable, ServiceAccounts(), Consents(movable)),
        ledger=Ledger(lock),
        lock=lock,
        latency_s=latency_s,
        history_retention_s=history_retention_s,
    )
