"""What a token server's refusal means, in one sentence that says what to do.

Google says little: most dead consents are `invalid_grant`, with one of a few descriptions. What it does tell (the error,
its subtype, a known description) chooses the sentence; nothing of a description is repeated.

https://developers.google.com/identity/protocols/oauth2#expiration
"""

from __future__ import annotations

from collections.abc import Mapping

from mail_ingest.accounts.credentials import SCOPE, CredentialKind

_AGAIN = "connect the account again"

_OF_PEOPLE: Mapping[str, str] = {
    "invalid_grant": (
        "Google does not accept the consent any more: it was revoked, the password was changed, it was not used for six "
        "months, more than 100 newer ones of this client replaced it, or its consent screen is in testing, where consents "
        f"end after 7 days (publish the app to stop that); {_AGAIN}"
    ),
    "expired_or_revoked": (
        "the consent has expired or was revoked: by the person, by a changed password, after six months without use, or "
        "after 7 days where the consent screen is in testing (publish the app first, consents of before still end); "
        f"{_AGAIN}"
    ),
    "deleted_account": "Google says that the account was deleted; remove it, or connect it again if it was restored",
    "invalid_rapt": f"a policy of the domain asks for a new login after a while; {_AGAIN}, or let the app be exempted",
    "admin_policy_enforced": (
        "an administrator of the domain has blocked this app or its access to Gmail; let them trust the OAuth client, then "
        "connect the account again"
    ),
    "org_internal": (
        "the OAuth client is for people of its own organization only; use a client of this person's organization"
    ),
    "invalid_client": f"the OAuth client was deleted or has a new secret; {_AGAIN} with its current one",
    "deleted_client": f"the OAuth client was deleted; {_AGAIN} with another one",
    "disabled_client": f"Google has disabled the OAuth client; see its console, then {_AGAIN}",
    "unauthorized_client": f"the consent was given to another OAuth client; {_AGAIN}",
    "invalid_scope": f"the consent does not cover reading mail; {_AGAIN} with {SCOPE}",
    "access_denied": f"the person, or an administrator, has denied access; {_AGAIN} when they agree",
}
_DELEGATE = f"let an administrator of the domain delegate {SCOPE} to the service account"
_OF_SERVICE_ACCOUNTS: Mapping[str, str] = {
    "invalid_grant": "the address is no user of the domain, the key was deleted, or our clock is wrong",
    "wrong_time": "our clock is wrong; set it, then mail-ingest account resume",
    "wrong_key": "the key of the service account was deleted; connect the account again with a new one",
    "wrong_user": "the address is no user of the domain that delegates to the service account",
    "unauthorized_client": _DELEGATE,
    "access_denied": _DELEGATE,
    "disabled_client": "Google has disabled the service account; enable it in its console, then mail-ingest account resume",
}
#: Parts of descriptions that Google gives with `invalid_grant`, in lower case, and what each of them means.
_DESCRIPTIONS: Mapping[str, str] = {
    "expired or revoked": "expired_or_revoked",
    "account has been deleted": "deleted_account",
    "invalid_rapt": "invalid_rapt",
    "rapt_required": "invalid_rapt",
    "short-lived token": "wrong_time",
    "iat and exp": "wrong_time",
    "invalid jwt signature": "wrong_key",
    "invalid email or user id": "wrong_user",
    "not a valid email": "wrong_user",
}


def advice(kind: CredentialKind, code: str, *, subtype: str = "", description: str = "") -> str:
    """A sentence on the refusal `code` of a token server, with what a person should do."""
    known = _OF_SERVICE_ACCOUNTS if kind == "service_account" else _OF_PEOPLE
    for cause in (_told_by(subtype) or subtype, _told_by(description), code):
        if cause in known:
            return known[cause]
    return _AGAIN


def _told_by(description: str) -> str:
    lower = description.lower()
    return next((cause for part, cause in _DESCRIPTIONS.items() if part in lower), "")
