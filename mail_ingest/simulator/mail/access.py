"""Who may use a mailbox, and the ways in which that goes wrong."""

from collections.abc import Callable, Iterable
from threading import RLock

from mail_ingest.simulator.consents import CLIENT_ID, CLIENT_SECRET
from mail_ingest.simulator.grants import FULL_SCOPE, SCOPE_PREFIX, Grants


class Access:
    """Tokens and consent of one account."""

    def __init__(self, address: str, lock: RLock, grants: Grants, token_uri: Callable[[], str]) -> None:
        self.address = address
        self.lock = lock
        self.shown_address = address
        """What `getProfile` says; differs after `answer_as`."""
        self.has_mail = True
        self._grants = grants
        self._token_uri = token_uri
        self.token = grants.issue(address, [FULL_SCOPE])
        """A bearer token for everything; it works until it is expired or revoked."""

    def issue_token(self, scopes: Iterable[str] = (FULL_SCOPE,), lifetime_s: float | None = None) -> str:
        """Another bearer token; scopes in full or by their last word (`gmail.readonly`)."""
        with self.lock:
            return self._grants.issue(self.address, map(full_scope, scopes), lifetime_s)

    def authorized_user(self, scopes: Iterable[str] = ("gmail.readonly",)) -> dict[str, str]:
        """A fresh consent: the content of an authorized_user file whose token endpoint is this server."""
        with self.lock:
            refresh = self._grants.issue_refresh(self.address, map(full_scope, scopes), CLIENT_ID)
        return {
            "type": "authorized_user",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": refresh,
            "token_uri": self._token_uri(),
            "account": self.address,
        }

    def revoke(self) -> None:
        """The user withdraws consent: all tokens stop, the token endpoint answers `invalid_grant`."""
        with self.lock:
            self._grants.revoke(self.address)

    def expire_token(self) -> None:
        """All access tokens of the account expire, `token` too; refresh tokens still work."""
        with self.lock:
            self._grants.expire_access(self.address)

    def disable_mail(self, disabled: bool = True) -> None:
        """The account loses Gmail: every call answers 400 `Mail service not enabled`."""
        with self.lock:
            self.has_mail = not disabled

    def answer_as(self, address: str | None) -> None:
        """The profile names another mailbox, as after a consent given with the wrong account; None undoes it."""
        with self.lock:
            self.shown_address = address or self.address


def full_scope(scope: str) -> str:
    """A scope by its last word or in full."""
    return scope if "://" in scope else SCOPE_PREFIX + scope
