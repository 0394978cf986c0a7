"""Response data of the simulated service, and the error bodies that the real services document."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from acetasks.providers.spec import Service

JSON_TYPE = "application/json"
#: Statuses sent by a gateway in front of an unreachable service: an HTML page, not the service's JSON.
_GATEWAY_STATUSES = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
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
#: Messages of useapi.net (docs/api-pixverse-v1/get-pixverse-jobid); other statuses get their standard phrase.
_USEAPI_MESSAGES = {402: "Account has no subscription or subscription expired"}


class RawResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Status, body and headers of a response, without its delivery options."""

    status: int
    content: bytes
    content_type: str = JSON_TYPE
    headers: dict[str, str] = {}


class RequestRejectedError(Exception):
    """Raised for a request that the service rejects with a documented error; never leaves the server.

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

    def to_response(self, service: Service, trace_id: str) -> RawResponse:
        """Return the error in the form of `service`."""
        if service is Service.USEAPI:
            return json_response(self.status, {"error": self.message, "code": self.status})
        error = {"code": self.code, "message": self.message}
        return json_response(self.status, {"error": error, "trace_id": trace_id})


def json_response(status: int, body: object) -> RawResponse:
    """Return a response with `body` encoded as JSON."""
    return RawResponse(status=status, content=msgspec.json.encode(body))


def documented_error(service: Service, status: int) -> RequestRejectedError:
    """Return the error that a service documents for a status of 400 or more.

    An undocumented status gets the code of 400 or 500 and its standard phrase.
    """
    if service is Service.USEAPI:
        return RequestRejectedError(status, "", _USEAPI_MESSAGES.get(status, status_phrase(status)))
    fallback = "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
    code, message = _DOCUMENTED.get(status, (fallback, status_phrase(status)))
    return RequestRejectedError(status, code, message)


def gateway_page(status: int) -> RawResponse | None:
    """Return the HTML page that a gateway sends, or None for a status that the service itself sends."""
    if status not in _GATEWAY_STATUSES:
        return None
    title = f"{status} {status_phrase(status)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
    )
    return RawResponse(status=status, content=page.encode(), content_type="text/html")


def status_phrase(status: int) -> str:
    """Return the standard phrase of an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # some statuses in use have no standard phrase
        return f"Status {status}"
