"""Service accounts with domain-wide delegation: their key files, and the JWTs they sign.

Flow: https://developers.google.com/identity/protocols/oauth2/service-account
"""

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pybase64
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mail_ingest.simulator.token_errors import TokenError


@cache
def _signing_key() -> rsa.RSAPrivateKey:
    """One key for all service accounts of the process: making one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@dataclass(frozen=True, slots=True)
class _Delegation:
    scopes: frozenset[str]
    subjects: frozenset[str] | None


class ServiceAccounts:
    """Service accounts known to one server and what the domain's administrator allowed each of them."""

    def __init__(self) -> None:
        self._delegations: dict[str, _Delegation] = {}
        self._key_id = secrets.token_hex(20)

    def make(
        self, token_uri: str, project: str, scopes: Iterable[str], subjects: Iterable[str] | None
    ) -> dict[str, str]:
        """A key file for a new service account that may act for the subjects (None: for anyone) with the scopes."""
        email = f"sim-{secrets.token_hex(4)}@project-{project}.iam.gserviceaccount.com"
        allowed = None if subjects is None else frozenset(subjects)
        self._delegations[email] = _Delegation(frozenset(scopes), allowed)
        pem = _signing_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": f"project-{project}",
            "private_key_id": self._key_id,
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": str(secrets.randbelow(10**21)),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
        }

    def verify(self, assertion: str) -> tuple[str, frozenset[str]]:
        """Identity and scopes that a signed JWT earns; raises `TokenError` with Google's code for what is wrong.

        Without a subject the identity is the service account itself, which has no mailbox. Times are compared with the
        machine's clock, since the client signs with that, whatever clock the simulator runs on.
        """
        claims = self._claims(assertion)
        if claims is None:
            raise TokenError("invalid_grant", "Invalid JWT Signature.")
        now_s = time.time()
        issued_s, expires_s = float(claims.get("iat", 0)), float(claims.get("exp", 0))
        if not issued_s - 300 <= now_s < expires_s or expires_s - issued_s > 3_600:
            raise TokenError(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim.",
            )
        delegation = self._delegations.get(str(claims.get("iss")))
        if delegation is None:
            raise TokenError("invalid_grant", "Invalid grant: account not found")
        wanted = frozenset(str(claims.get("scope", "")).split())
        subject = claims.get("sub")
        if not subject:
            return str(claims["iss"]), wanted
        if not wanted or not wanted <= delegation.scopes:
            raise TokenError(
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any "
                "of the scopes requested.",
                401,
            )
        if delegation.subjects is not None and subject not in delegation.subjects:
            raise TokenError("invalid_grant", "Invalid email or User ID")
        return str(subject), wanted

    def _claims(self, assertion: str) -> Mapping[str, Any] | None:
        try:
            signed, _, signature = assertion.rpartition(".")
            payload = signed.split(".")[1]
            _signing_key().public_key().verify(_decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = json.loads(_decode(payload))
        except (InvalidSignature, ValueError, IndexError):
            return None
        return claims if isinstance(claims, dict) else None


def _decode(text: str) -> bytes:
    return pybase64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
