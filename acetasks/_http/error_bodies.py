"""Errors of the services, from response bodies of every documented shape.

The error code decides first and the HTTP status second: a gateway may put any status before a code. Only what a service
says itself is final. A body of any other shape is the page of a gateway, a firewall or a login wall, which passes.
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
#: Further documented codes, whose error is that of the status.
_OTHER_CODES = frozenset(
    {
        *("token_mismatched", "api_not_implemented", "bad_request", "invalid_request", "request_too_large"),
        *("no_api", "not_found", "no_task", "timeout"),
    }
)
_STATUSES: Mapping[int, type[APIError]] = {
    HTTPStatus.UNAUTHORIZED: AuthenticationError,
    HTTPStatus.PAYMENT_REQUIRED: PermissionDeniedError,
    HTTPStatus.FORBIDDEN: PermissionDeniedError,
    HTTPStatus.REQUEST_TIMEOUT: ServiceError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitError,
}
#: The token belongs to another API: with status 400 final for this provider, with 401 for the token.
_MISMATCHED = "token_mismatched"
#: Headers of the trace id, in the order in which they count.
_TRACE_HEADERS = ("x-trace-id", "x-request-id")
_FOREIGN_HINT = " (not an error of the service itself, but of a gateway, firewall or proxy before it)"
_REDIRECT_HINT = " (redirects are not followed with the token: check the base URL)"


def read_error_head(body: bytes) -> RecordHead:
    """Read an error body; one that is not JSON counts as empty."""
    try:
        return read_head(body)[0]
    except ProtocolError:
        return RecordHead()


def is_of_service(head: RecordHead) -> bool:
    """Return whether an error body has a form that a service sends, and nothing between it and the client does."""
    # 1. `{error: {...}}`, `{error: text}`.   2. `{detail}`, `{code, detail}`.   3. A message with a code or a trace id.
    if find_error_object(head.error) is not None or read_text(head.error) or head.detail:
        return True
    code = read_text(head.code)
    return code in _CODES or code in _OTHER_CODES or bool(read_text(head.message) and read_text(head.trace_id))


def build_error(provider: str, head: RecordHead, response: Response, retry_after: float | None = None) -> APIError:
    """Build the error that a response reports; `head` is its parsed body.

    A redirect, and an error that is not of the service, is transient, but for 413: a limit of the size is true whatever
    reports it, and smaller batches are the answer.
    """
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
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    is_foreign = status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE and not is_of_service(head)
    hint = _REDIRECT_HINT if is_redirect else _FOREIGN_HINT if is_foreign else ""
    error = error_type(
        message or "no message",
        provider=provider,
        status=status,
        code=code,
        trace_id=read_text(head.trace_id) or read_text(head.request_id) or _read_trace_header(response),
        task_id=read_text(head.task_id),
        retry_after=retry_after,
        hint="" if error_type.transient else hint,
    )
    error.transient |= is_redirect or is_foreign
    return error


def _read_trace_header(response: Response) -> str | None:
    """Return the trace id in the headers; openai calls it a request id."""
    return next(filter(None, (read_text(response.headers.get(name)) for name in _TRACE_HEADERS)), None)


def raise_for_code(provider: str, head: RecordHead, response: Response) -> None:
    """Raise the error of a response that has a good status, if its code is one of `_CODES`."""
    error = build_error(provider, head, response)
    if error.code in _CODES:
        raise error
