"""The answers: what is sent back before it is bytes, and the errors that the services document.

Here stand the one form that each service has for its errors, and what a gateway says in front of it. This room
knows no task, no HTTP and no clock.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from acetasks.providers.spec import Service

_FIRST_SERVER_ERROR = 500
#: Statuses that a gateway answers when it reaches no service behind it: a page, not the service's JSON.
_GATEWAY_STATUSES = frozenset({502, 503})
#: Codes and messages by status (Ace Data Cloud: the error tables of its OpenAPI files).
_DOCUMENTED = {
    400: ("bad_request", "The request is invalid."),
    401: ("invalid_token", "The specified token is invalid or wrong."),
    402: ("used_up", "Your balance is not sufficient for current request."),
    403: ("forbidden", "The request was refused."),
    404: ("no_api", "API does not exist, please make sure url is correct."),
    413: ("request_too_large", "Request body is too large."),
    429: ("too_many_requests", "You have exceeded the rate limit."),
    500: ("api_error", "Internal server error."),
    504: ("timeout", "Timeout to generate."),
}
#: What useapi.net says instead (docs/api-pixverse-v1/get-pixverse-jobid); elsewhere the status's own name will do.
_USEAPI_MESSAGES = {402: "Account has no subscription or subscription expired"}


class Answer(msgspec.Struct, frozen=True):
    """What is sent back: an HTTP status, and a body to be encoded as JSON."""

    status: int
    body: object


class RefusalError(Exception):
    """Raised when a request is refused as the service documents it; never leaves the server.

    Attributes:
        status: The HTTP status.
        code: The service's error code.
        message: The service's message.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def answer(self, service: Service, trace_id: str) -> Answer:
        """Write the refusal down in the form of a service's errors."""
        if service is Service.USEAPI:
            return Answer(self.status, {"error": self.message, "code": self.status})
        return Answer(self.status, {"error": {"code": self.code, "message": self.message}, "trace_id": trace_id})


def build_refusal(service: Service, status: int) -> RefusalError:
    """Build the refusal that a service documents for a status, or one of its kind where it documents none.

    Args:
        service: The service.
        status: The HTTP status, of 400 or more.

    Returns:
        The refusal, to be raised or answered.
    """
    kind = "api_error" if status >= _FIRST_SERVER_ERROR else "bad_request"
    code, message = _DOCUMENTED.get(status, (kind, _name_status(status)))
    if service is Service.USEAPI:
        message = _USEAPI_MESSAGES.get(status, _name_status(status))
    return RefusalError(status, code, message)


def build_page(status: int) -> str | None:
    """Write the page of HTML that a gateway sends for a status.

    Args:
        status: The HTTP status.

    Returns:
        The page; None where the service itself answers.
    """
    if status not in _GATEWAY_STATUSES:
        return None
    title = f"{status} {_name_status(status)}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
    )


def _name_status(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # some are in use that no standard names
        return f"Status {status}"
