"""Errors of the services, from response bodies of every documented shape.

The error code decides first and the HTTP status second: a gateway may put any status before a code.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from acetasks._records import RecordHead, excerpt
from acetasks.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
)
from acetasks.providers import find_error_object, read_detail, read_error_code, read_error_message, read_head, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks._http.requests import Response

#: Error codes that decide whatever the status is (the error tables of the service's OpenAPI files).
_CODES: Mapping[str, type[APIError]] = {
    **dict.fromkeys(("invalid_token", "token_expired", "no_token"), AuthenticationError),
    **dict.fromkeys(("used_up", "forbidden", "disabled"), PermissionDeniedError),
    **dict.fromkeys(("too_many_requests", "rate_limited", "rate_limit_error"), RateLimitError),
    **dict.fromkeys(("api_error", "busy"), ServiceError),
}
_STATUSES: Mapping[int, type[APIError]] = {
    HTTPStatus.UNAUTHORIZED: AuthenticationError,
    HTTPStatus.PAYMENT_REQUIRED: PermissionDeniedError,
    HTTPStatus.FORBIDDEN: PermissionDeniedError,
    HTTPStatus.REQUEST_TIMEOUT: ServiceError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitError,
}
#: The token belongs to another API: with status 400 final for this provider, with 401 for the token.
_MISMATCHED = "token_mismatched"
_REDIRECT_HINT = " (redirects are not followed with the token: check the base URL)"


def read_error_head(body: bytes) -> RecordHead:
    """Read an error body; one that is not JSON counts as empty."""
    try:
        return read_head(body)[0]
    except ProtocolError:
        return RecordHead()


def build_error(provider: str, head: RecordHead, response: Response, retry_after: float | None = None) -> APIError:
    """Build the error that a response reports; `head` is its parsed body."""
    code, message = read_text(head.code), read_text(head.error)
    if (details := find_error_object(head.error)) is not None:
        code, message = read_error_code(details) or code, read_error_message(details)
    message = message or read_detail(head.detail) or read_text(head.message) or excerpt(response.body).strip()
    status = response.status
    error_type = _CODES.get(code or "") or _STATUSES.get(status)
    if code == _MISMATCHED and status == HTTPStatus.BAD_REQUEST:
        error_type = PermissionDeniedError
    if error_type is None:
        error_type = ServiceError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else BadRequestError
    return error_type(
        message or "no message",
        provider=provider,
        status=status,
        code=code,
        trace_id=read_text(head.trace_id) or read_text(head.request_id),
        retry_after=retry_after,
        hint=_REDIRECT_HINT if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else "",
    )


def raise_for_code(provider: str, head: RecordHead, response: Response) -> None:
    """Raise the error of a response that has a good status, if its code is one of `_CODES`."""
    error = build_error(provider, head, response)
    if error.code in _CODES:
        raise error
