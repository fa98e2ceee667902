"""Google's APIs beside Gmail, through its own client library: the directory of a Workspace, and Secret Manager.

The library brings their descriptions along, so nothing is fetched to build a service. Its REST calls are a few a day: the
gRPC clients would bring four more packages for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mail_ingest.errors import ConfigError, ServerError

_TIMEOUT_S = 30
_TOO_MANY = 429


def service(name: str, version: str, credentials: Any, url: str) -> Any:
    """A service of the library, at the root `url`; a context manager that closes its connections. Calls nobody."""
    import google_auth_httplib2
    import httplib2
    from googleapiclient.discovery import build

    http = httplib2.Http(timeout=_TIMEOUT_S)
    http.follow_redirects = False  # a token would travel with them
    authorized = google_auth_httplib2.AuthorizedHttp(credentials, http=http, refresh_status_codes=())
    return build(name, version, http=authorized, client_options={"api_endpoint": url}, cache_discovery=False)


def execute(request: Any, what: str, *, retries: int = 0) -> Mapping[str, Any]:
    """The answer to a request, asked for again as often, a few seconds apart. Raises what `asking` raises."""
    with asking(what):
        answer = request.execute(num_retries=retries)
    if not isinstance(answer, Mapping):
        raise ServerError(f"{what}: an answer of another kind; try again later", reason="noAnswer")
    return answer


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns the errors of Google's libraries into ours; `what` begins the sentence: "the secret ... cannot be read".

    Raises ServerError for what passes by itself, ConfigError for what a person has to mend. Neither holds anything of the
    answer but its codes.
    """
    import httplib2
    from google.auth.exceptions import GoogleAuthError, RefreshError
    from googleapiclient.errors import Error, HttpError

    try:
        yield
    except HttpError as error:
        status = int(error.resp.status)
        reason = f"{status} {_reason(error.content)}".strip()
        if status >= 500 or status == _TOO_MANY:
            raise ServerError(f"{what}: {reason}; try again later", reason=reason, status=status) from None
        raise ConfigError(f"{what}: {reason}") from None
    except RefreshError as error:
        if error.retryable:
            raise ServerError(f"{what}: the token server failed; try again later", reason="tokenServer") from None
        raise ConfigError(f"{what}: no token for it ({oauth_code(error) or 'an answer of another kind'})") from None
    except (GoogleAuthError, httplib2.HttpLib2Error, OSError, Error, ValueError, RecursionError) as error:
        raise ServerError(f"{what}: no answer ({type(error).__name__}); try again later", reason="noAnswer") from None


def oauth_code(error: Any) -> str:
    """The OAuth error code of a refusal, empty where there is none; never a description, which may hold anything."""
    code = oauth_field(error, "error")
    return code if is_word(code) else ""


def oauth_field(error: Any, name: str) -> str:
    """A field of a token server's refusal as it came, empty where there is none. Only `is_word` says whether it may be shown."""
    details = error.args[1] if len(error.args) > 1 else None
    value = details.get(name) if isinstance(details, Mapping) else None
    return value if isinstance(value, str) else ""


def is_word(text: str) -> bool:
    """Whether a text may be repeated: one of Google's words, and not a description, which may hold anything."""
    return text.replace("_", "").isalnum() and len(text) < 60


def _reason(content: bytes) -> str:
    """Google's own word for a refusal: `errors[0].reason` or `status`."""
    try:
        error = json.loads(content)["error"]
        inner = error.get("errors") or [{}]
        word = inner[0].get("reason") or error.get("status") or ""
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return ""
    return word if isinstance(word, str) and is_word(word) else ""
