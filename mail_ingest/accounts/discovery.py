"""A Workspace's directory -> accounts: who is new is registered, who left or is suspended is paused, and told.

Nobody is erased here, and what a person decided stays: an account that was paused or removed by hand, or registered with
credentials of its own, is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mail_ingest.accounts.account import Account, PrivacySettings, account_id_of, group_of
from mail_ingest.accounts.credentials import Credential, from_document, from_reference
from mail_ingest.accounts.directory import Person, list_people
from mail_ingest.accounts.references import References, check_reference
from mail_ingest.accounts.registry import Registry
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

_PAUSED = "discovery: "
"""How the reasons begin that discoveries pause accounts for; another discovery may take such a pause back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to list, whom to take of it, and the credentials that new accounts get: a service account, or a reference to one.

    Patterns are globs. One that begins with `/` is an organizational unit and stands for all below it, any other is an
    address. Nobody is taken whom `exclude` names; where `include` is empty, everybody else is.
    """

    credential: Credential
    admin: str
    domain: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    content_since: str = "all"
    account_group: str = ""
    """The group of accounts that are new; it stays as it is where an account is known."""
    privacy: PrivacySettings = PrivacySettings()  # noqa: RUF009  frozen
    """What may be stored of accounts that are new."""

    @property
    def source(self) -> str:
        """The directory's name, which stays the same when another administrator is asked."""
        return self.domain.lower() or f"Workspace of {self.admin.partition('@')[2].lower()}"

    def takes(self, person: Person) -> bool:
        if any(_matches(pattern, person) for pattern in self.exclude):
            return False
        return not self.include or any(_matches(pattern, person) for pattern in self.include)


@dataclass(slots=True)
class Findings:
    """What a discovery found and did, or would do. Account ids, with reasons where there are some."""

    source: str
    added: list[str] = field(default_factory=list)
    paused: dict[str, str] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Addresses that could not be registered; they stopped nobody else."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many were not taken, by reason."""
    unchanged: int = 0

    @property
    def changed_anything(self) -> bool:
        return bool(self.added or self.paused or self.resumed)

    def leave_out(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1


def plan_of(settings: Settings) -> Plan:
    """The plan that `MAIL_INGEST_DISCOVERY_...` describes. Raises ConfigError where it is none."""
    if not settings.discovery_credentials or not settings.discovery_admin:
        raise ConfigError(
            "discovery needs MAIL_INGEST_DISCOVERY_CREDENTIALS, a reference to a service account, and "
            "MAIL_INGEST_DISCOVERY_ADMIN, the administrator that it acts for"
        )
    return Plan(
        from_reference(check_reference(settings.discovery_credentials)),
        settings.discovery_admin,
        settings.discovery_domain,
        settings.discovery_include,
        settings.discovery_exclude,
    )


def discover(registry: Registry, plan: Plan, settings: Settings, *, is_dry_run: bool = False) -> Findings:
    """Lists the directory and brings the registry up to it. A dry run changes nothing.

    Raises what listing raises; who was registered until then stays, and nobody is paused. Memory grows with the number of
    accounts, not with the directory.
    """
    account_id_of(plan.admin)
    group_of(plan.account_group)
    if not is_dry_run:
        # otherwise every person would be refused one by one, and the command end well
        registry.check_deployment()
    return _Discovery(registry, plan, is_dry_run).run(_opened(plan.credential, settings), settings.directory_url)


def _opened(credential: Credential, settings: Settings) -> Credential:
    """The service account itself."""
    if credential.kind != "reference":
        return credential
    reference = credential.content["reference"]
    return from_document(References(settings.secrets_url).read(reference), f"the document behind {reference}")


class _Discovery:
    def __init__(self, registry: Registry, plan: Plan, is_dry_run: bool) -> None:
        self._registry = registry
        self._plan = plan
        self._is_dry_run = is_dry_run
        self._known = {account.account_id: account for account in registry.list()}
        self._removed = {account.account_id for account in registry.list("removed")}
        self._unseen = {
            account_id for account_id, account in self._known.items() if account.discovered_from == plan.source
        }
        self._found = Findings(plan.source)

    def run(self, lister: Credential, url: str) -> Findings:
        is_empty = True
        for page in list_people(lister, self._plan.admin, self._plan.domain, url):
            for person in page:
                is_empty = False
                self._take(person)
        if is_empty:
            raise ConfigError(
                f"the directory ({self._plan.source}) lists nobody, which is hard to believe: nothing was changed"
            )
        for account_id in sorted(self._unseen):
            self._pause(self._known[account_id], "gone from the directory")
        return self._found

    def _take(self, person: Person) -> None:
        try:
            account_id = account_id_of(person.address)
        except ConfigError as error:
            self._found.refused[person.address] = str(error)
            return
        account = self._known.get(account_id)
        self._unseen.discard(account_id)
        if person.why_not:
            if account is not None and account.discovered_from == self._plan.source:
                self._pause(account, f"{person.why_not} in the directory")
            else:
                self._found.leave_out(person.why_not)
        elif not self._plan.takes(person):
            self._found.leave_out("not asked for" if account is None else "not asked for any more")
        elif account is not None:
            self._keep(account)
        elif account_id in self._removed:
            self._found.leave_out("removed by a person")
        else:
            self._add(account_id, person)

    def _add(self, account_id: str, person: Person) -> None:
        if not self._is_dry_run:
            try:
                self._known[account_id] = self._registry.add(
                    person.address,
                    self._plan.credential,
                    content_since=self._plan.content_since,
                    privacy=self._plan.privacy,
                    account_group=self._plan.account_group,
                    discovered_from=self._plan.source,
                )
            except ConfigError as error:  # registered meanwhile
                self._found.refused[account_id] = str(error)
                return
        self._found.added.append(account_id)

    def _keep(self, account: Account) -> None:
        if not _is_paused_by_us(account) or account.discovered_from != self._plan.source:
            self._found.unchanged += 1
            return
        if not self._is_dry_run:
            self._registry.resume(account.account_id)
        self._found.resumed.append(account.account_id)

    def _pause(self, account: Account, why: str) -> None:
        reason = f"{_PAUSED}{why}"
        if account.state == "paused" and (account.state_reason == reason or not _is_paused_by_us(account)):
            self._found.unchanged += 1
            return
        if not self._is_dry_run:
            self._registry.pause(account.account_id, reason)
        self._found.paused[account.account_id] = why


def _is_paused_by_us(account: Account) -> bool:
    return account.state == "paused" and account.state_reason.startswith(_PAUSED)


def _matches(pattern: str, person: Person) -> bool:
    if pattern.startswith("/"):
        unit, wanted = person.org_unit.lower(), pattern.lower().rstrip("/")
        return fnmatchcase(unit, wanted or "/*") or fnmatchcase(unit, f"{wanted}/*")
    return fnmatchcase(person.address.lower(), pattern.lower())
