"""Response data of the simulated service, and the error bodies that the real services document."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from acetasks.providers.spec import Service

JSON_TYPE = "application/json"
LINES_TYPE = "application/x-ndjson"
#: Statuses sent by a gateway in front of an unreachable service: an HTML page, not the service's JSON.
_GATEWAY_STATUSES = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
#: The most usual code of each status.
_CODES = {
    400: "bad_request",
    401: "invalid_token",
    403: "forbidden",
    404: "no_api",
    413: "request_too_large",
    429: "too_many_requests",
    500: "api_error",
    504: "timeout",
}
#: Messages by code (Ace Data Cloud: the error tables of its OpenAPI files).
_MESSAGES = {
    "api_error": "Internal server error.",
    "api_not_implemented": "The API is not implemented.",
    "bad_request": "The request is invalid.",
    "disabled": "Your application has been disabled by Ace Data Cloud due to abnormal usage behavior.",
    "forbidden": "The request was refused.",
    "invalid_token": "The specified token is invalid or wrong.",
    "no_api": "API does not exist, please make sure url is correct.",
    "no_token": "No token specified for the request.",
    "request_too_large": "Request body is too large.",
    "timeout": "Timeout to generate.",
    "token_expired": "The specified token is expired.",
    "token_mismatched": "The specified token is not matched with API.",
    "too_many_requests": "You have exceeded the rate limit.",
    "used_up": "Your balance is not sufficient for current request.",
}
#: Statuses of failed generations by code, as in the error tables; any other code has 500.
_FAILURE_STATUSES = {
    **dict.fromkeys(("bad_request", "invalid_request", "token_mismatched", "api_not_implemented"), 400),
    **dict.fromkeys(("forbidden", "used_up", "content_rejected"), 403),
    "too_many_requests": 429,
    "service_unavailable": 503,
    "timeout": 504,
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

    def to_response(self, service: Service, trace_id: str, *, with_success: bool = False) -> RawResponse:
        """Return the error in the form of `service`.

        Args:
            service: The service.
            trace_id: The request's id.
            with_success: Whether the body has `success: false` too, as in the guides of Ace Data Cloud; it has none in
                the OpenAPI files.
        """
        if service is Service.USEAPI:
            return json_response(self.status, {"error": self.message, "code": self.status})
        error = {"code": self.code, "message": self.message}
        success = {"success": False} if with_success else {}
        return json_response(self.status, {**success, "error": error, "trace_id": trace_id})


def json_response(status: int, body: object) -> RawResponse:
    """Return a response with `body` encoded as JSON."""
    return RawResponse(status=status, content=msgspec.json.encode(body))


def as_lines(response: RawResponse) -> RawResponse:
    """Return a JSON response as lines of JSON, of which it is the only one.

    Most submit paths document `accept: application/x-ndjson`; there the service may send progress before.
    """
    return RawResponse(status=response.status, content=response.content + b"\n", content_type=LINES_TYPE)


def documented_error(service: Service, status: int, code: str | None = None) -> RequestRejectedError:
    """Return the error that a service documents for a status of 400 or more.

    An undocumented status gets the code of 400 or 500 and its standard phrase.

    Args:
        service: The service.
        status: The HTTP status.
        code: The code, or None for the most usual one of the status; useapi.net has none.
    """
    if service is Service.USEAPI:
        return RequestRejectedError(status, "", _USEAPI_MESSAGES.get(status, status_phrase(status)))
    fallback = "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
    known = code or _CODES.get(status)
    message = _MESSAGES.get(known or "", status_phrase(status))
    return RequestRejectedError(status, known or fallback, message)


def payment_required() -> RawResponse:
    """Return the 402 of the payment protocol x402, version 1: without a token, a request may be paid for by itself.

    A balance that is used up is a 403.
    """
    option = {
        "scheme": "exact",
        "network": "base",
        "maxAmountRequired": "10000",
        "resource": "https://api.acedata.cloud",
        "description": "",
        "mimeType": JSON_TYPE,
        "payTo": f"0x{'0' * 40}",
        "maxTimeoutSeconds": 60,
        "asset": f"0x{'0' * 40}",
    }
    return json_response(402, {"x402Version": 1, "error": "X-PAYMENT header is required", "accepts": [option]})


def generation_error(code: str | None, message: str) -> RequestRejectedError:
    """Return the error that a blocking submission gets for a failed task (concepts/responses).

    The status is the one that is documented with the code, such as 403 for `forbidden`, which is content moderation.
    """
    code = code or "api_error"
    return RequestRejectedError(_FAILURE_STATUSES.get(code, 500), code, message)


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
