"""Who may do what: access tokens, refresh tokens, and what the token endpoint answers.

Shapes: https://developers.google.com/identity/protocols/oauth2 ; refusals as reported by users of the live endpoint.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mail_ingest.simulator.consents import Consents
from mail_ingest.simulator.service_accounts import ServiceAccounts
from mail_ingest.simulator.token_errors import TokenError

SCOPE_PREFIX = "https://www.googleapis.com/auth/"
FULL_SCOPE = "https://mail.google.com/"
READONLY_SCOPE = SCOPE_PREFIX + "gmail.readonly"
ACCESS_TOKEN_LIFETIME_S = 3_599
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(slots=True)
class AccessToken:
    """A bearer token; `address` is the identity it acts for, which need not have a mailbox."""

    value: str
    address: str
    scopes: frozenset[str]
    expires_at_s: float | None = None


@dataclass(slots=True)
class _RefreshToken:
    address: str
    scopes: frozenset[str]
    client_id: str
    is_revoked: bool = False


@dataclass(slots=True)
class Grants:
    """All tokens of one server."""

    clock: Callable[[], float]
    service_accounts: ServiceAccounts
    consents: Consents
    _access: dict[str, AccessToken] = field(default_factory=dict)
    _refresh: dict[str, _RefreshToken] = field(default_factory=dict)

    def issue(self, address: str, scopes: Iterable[str], lifetime_s: float | None = None) -> str:
        """A new access token; without a lifetime it works until it is expired or revoked by hand."""
        token = "ya29.sim-" + secrets.token_urlsafe(24)
        expires_at_s = None if lifetime_s is None else self.clock() + lifetime_s
        self._access[token] = AccessToken(token, address, frozenset(scopes), expires_at_s)
        return token

    def check(self, token: str) -> AccessToken | None:
        """The grant behind a token, None when it is unknown, expired or revoked."""
        grant = self._access.get(token)
        if grant is None or (grant.expires_at_s is not None and grant.expires_at_s <= self.clock()):
            return None
        return grant

    def issue_refresh(self, address: str, scopes: Iterable[str], client_id: str) -> str:
        token = "1//sim-" + secrets.token_urlsafe(32)
        self._refresh[token] = _RefreshToken(address, frozenset(scopes), client_id)
        return token

    def expire_access(self, address: str) -> None:
        """Every access token of the address stops working; refresh tokens go on."""
        for token in [token for token, grant in self._access.items() if grant.address == address]:
            del self._access[token]

    def revoke(self, address: str) -> None:
        """The user withdrew consent: access tokens stop, refresh tokens answer `invalid_grant`."""
        self.expire_access(address)
        self.consents.forget(address)
        for grant in self._refresh.values():
            if grant.address == address:
                grant.is_revoked = True

    def revoke_token(self, token: str) -> bool:
        """What the revocation endpoint does: the token's whole consent ends. False for an unknown token."""
        grant = self._refresh.get(token) or self._access.get(token)
        if grant is None:
            return False
        self.revoke(grant.address)
        return True

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answers one request to the token endpoint; raises `TokenError`."""
        kind = form.get("grant_type")
        if kind == "refresh_token":
            return self._by_refresh_token(form)
        if kind == "authorization_code":
            return self._by_code(form)
        if kind == JWT_GRANT:
            address, scopes = self.service_accounts.verify(form.get("assertion", ""))
            return self._answer(address, scopes)
        if not kind:
            raise TokenError("invalid_request", "Required parameter is missing: grant_type")
        raise TokenError("unsupported_grant_type", f"Invalid grant_type: {kind}")

    def _by_code(self, form: Mapping[str, str]) -> dict[str, Any]:
        consent = self.consents.redeem(form)
        answer = self._answer(consent.address, consent.scopes)
        if consent.has_refresh_token:
            answer["refresh_token"] = self.issue_refresh(consent.address, consent.scopes, consent.client_id)
        return answer

    def _by_refresh_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        token = form.get("refresh_token")
        if not token:
            raise TokenError("invalid_request", "Missing required parameter: refresh_token")
        grant = self._refresh.get(token)
        if grant is None:
            raise TokenError("invalid_grant", "Bad Request")
        if grant.is_revoked:
            raise TokenError("invalid_grant", "Token has been expired or revoked.")
        if form.get("client_id") != grant.client_id:
            raise TokenError("invalid_client", "The OAuth client was not found.", 401)
        wanted = frozenset(form["scope"].split()) if form.get("scope") else grant.scopes
        if not wanted <= grant.scopes:
            raise TokenError("invalid_scope", "Some requested scopes were invalid.")
        return self._answer(grant.address, wanted)

    def _answer(self, address: str, scopes: Iterable[str]) -> dict[str, Any]:
        granted = frozenset(scopes)
        return {
            "access_token": self.issue(address, granted, ACCESS_TOKEN_LIFETIME_S),
            "expires_in": ACCESS_TOKEN_LIFETIME_S,
            "scope": " ".join(sorted(granted)),
            "token_type": "Bearer",
        }
