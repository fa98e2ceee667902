"""Refusals, with the bodies that Gmail sends.

Texts and shapes were captured from the live API or reported in public issues; the ones nobody has published are marked
"text unknown". Guide: https://developers.google.com/workspace/gmail/api/guides/handle-errors
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CREDENTIAL_ADVICE = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
_AT_HEADER = {"location": "Authorization", "locationType": "header"}
_SERVICE = "gmail.googleapis.com"


class ApiError(Exception):
    """An answer other than success, in the envelope of Google's JSON APIs."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        status: str | None = None,
        domain: str = "global",
        inner_message: str | None = None,
        location: Mapping[str, str] | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self._message = message
        self._status = _STATUS_NAMES.get(code) if status is None else status
        self._inner = {"message": inner_message or message, "domain": domain, "reason": reason, **(location or {})}
        self._details = list(details)

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self._message, "errors": [self._inner]}
        if self._status:
            error["status"] = self._status
        if self._details:
            error["details"] = self._details
        return {"error": error}


def _error_info(reason: str, **metadata: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    }


def not_found() -> ApiError:
    return ApiError(404, "notFound", "Requested entity was not found.")


def invalid(message: str, reason: str = "invalidArgument") -> ApiError:
    return ApiError(400, reason, message)


def failed_precondition(message: str) -> ApiError:
    return ApiError(400, "failedPrecondition", message, status="FAILED_PRECONDITION")


def unknown_parameter(name: str) -> ApiError:
    text = (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )
    violation = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"description": text}]}
    return ApiError(400, "invalid", text, details=[violation])


def bad_value(field: str, kind: str, value: str) -> ApiError:
    """A value of the wrong type or outside its enumeration; `field` in snake case as Google prints it."""
    text = f"Invalid value at '{field}' ({kind}), \"{value}\""
    violation = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": text}],
    }
    return ApiError(400, "invalid", text, details=[violation])


def bad_page_token() -> ApiError:
    """Text unknown."""
    return invalid("Invalid pageToken")


def bad_credentials() -> ApiError:
    return ApiError(
        401,
        "authError",
        f"Request had invalid authentication credentials. {_CREDENTIAL_ADVICE}",
        inner_message="Invalid Credentials",
        location=_AT_HEADER,
    )


def no_credentials(rpc_method: str) -> ApiError:
    return ApiError(
        401,
        "required",
        f"Request is missing required authentication credential. {_CREDENTIAL_ADVICE}",
        inner_message="Login Required.",
        location=_AT_HEADER,
        details=[_error_info("CREDENTIALS_MISSING", method=rpc_method, service=_SERVICE)],
    )


def insufficient_scopes(rpc_method: str) -> ApiError:
    return ApiError(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        inner_message="Insufficient Permission",
        details=[_error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", service=_SERVICE, method=rpc_method)],
    )


def delegation_denied(address: str) -> ApiError:
    return ApiError(403, "forbidden", f"Delegation denied for {address}")


def quota_exceeded(
    *, project: str, metric: str, limit_name: str, limit: str, value: int, unit: str, window_start_s: int
) -> ApiError:
    """The refusal of a unit window; it carries the window's start and no `Retry-After`."""
    text = (
        f"Quota exceeded for quota metric '{metric}' and limit '{limit_name}' of service '{_SERVICE}' "
        f"for consumer 'project_number:{project}'."
    )
    info = _error_info(
        "RATE_LIMIT_EXCEEDED",
        service=_SERVICE,
        consumer=f"projects/{project}",
        quota_limit=limit,
        quota_limit_value=str(value),
        quota_unit=unit,
        window_start_time=str(window_start_s),
    )
    advice = {
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [
            {
                "description": "Request a higher quota limit.",
                "url": "https://cloud.google.com/docs/quotas/help/request_increase",
            }
        ],
    }
    return ApiError(403, "rateLimitExceeded", text, domain="usageLimits", details=[info, advice])


def daily_limit_exceeded() -> ApiError:
    return ApiError(403, "dailyLimitExceeded", "Daily Limit Exceeded", domain="usageLimits")


def too_many_concurrent() -> ApiError:
    return ApiError(429, "rateLimitExceeded", "Too many concurrent requests for user.")


def retry_after_text(moment: datetime) -> str:
    """The text of the long refusal (bandwidth, repeated excess) that names a moment; two spaces as reported."""
    stamp = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"User-rate limit exceeded.  Retry after {stamp}"


_TEXTS = {
    (403, "rateLimitExceeded"): "Rate Limit Exceeded",
    (403, "userRateLimitExceeded"): "User Rate Limit Exceeded",
    (403, "dailyLimitExceeded"): "Daily Limit Exceeded",
    (403, "quotaExceeded"): "Quota exceeded.",
    (403, "domainPolicy"): "The domain administrators have disabled Gmail apps.",
    (403, "insufficientPermissions"): "Request had insufficient authentication scopes.",
    (
        403,
        "accessNotConfigured",
    ): "Gmail API has not been used in project {project} before or it is disabled. Enable it "
    "by visiting https://console.developers.google.com/apis/api/gmail.googleapis.com/overview?project={project} then "
    "retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.",
    (400, "failedPrecondition"): "Precondition check failed.",
    (429, "rateLimitExceeded"): "Resource has been exhausted (e.g. check quota).",
    (429, "userRateLimitExceeded"): "User Rate Limit Exceeded",
    (500, "backendError"): "Internal error encountered.",
    (502, "backendError"): "The service is currently unavailable.",
    (503, "backendError"): "The service is currently unavailable.",
    (504, "backendError"): "The service is currently unavailable.",
}
_USAGE_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"})


def by_reason(code: int, reason: str, project: str, message: str | None = None) -> ApiError:
    """The refusal that goes with a status and a reason, with the text reported for it."""
    if code == 401:
        return bad_credentials()
    if code == 404:
        return not_found()
    text = message or _TEXTS.get((code, reason), reason).format(project=project)
    usage = code == 403 and reason in _USAGE_REASONS
    status = "FAILED_PRECONDITION" if reason == "failedPrecondition" else None
    return ApiError(code, reason, text, domain="usageLimits" if usage else "global", status=status)
