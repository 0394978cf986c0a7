"""Effect of a scripted fault on one request: another response, a changed one, or another delivery."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from acetasks.testing.checks import check_count, check_function
from acetasks.testing.delivery import BODILESS_STATUSES, DeliveryOptions
from acetasks.testing.requests import Action
from acetasks.testing.responses import RawResponse, gateway_page

#: Changes the decoded JSON of a response.
Edit = Callable[[object], object]

_MIN_STATUS = 200  # lower ones are interim responses
_MAX_STATUS = 599
_FIRST_ERROR = 400
_BATCHES = frozenset({Action.RETRIEVE_BATCH, Action.HISTORY})


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Effect of a fault.

    Attributes:
        status: HTTP status of the response; None means that of the real response, or 200 with `body`.
        code: Code of the service's error; None means the most usual one of the status.
        body: Body that replaces the real response, as bytes, text, or a value to encode as JSON; None means none.
        edit: Changes the decoded JSON of the real response; None means no change.
        limit: Maximum number of records in a batch response; None means no limit.
        action: Kind of the requests that are hit; None means all but downloads.
        delivery: How the response is sent.
    """

    status: int | None = None
    code: str | None = None
    body: object = None
    edit: Edit | None = None
    limit: int | None = None
    action: Action | None = None
    delivery: DeliveryOptions = DeliveryOptions()

    def __post_init__(self) -> None:
        """Check the values and encode the body.

        Raises:
            TypeError: A value has the wrong type.
            ValueError: A number is out of range, there is no effect, or two values contradict each other.
        """
        check_count("status", self.status, minimum=_MIN_STATUS)
        if self.status is not None and self.status > _MAX_STATUS:
            raise ValueError(f"status must be at most {_MAX_STATUS}, got {self.status!r}")
        check_count("limit", self.limit, minimum=0)
        check_function("edit", self.edit)
        if self.body is not None:
            msgspec.structs.force_setattr(self, "body", _encode_body(self.body))
        if self.delivery == DeliveryOptions() and (self.status, self.body, self.edit, self.limit) == (None,) * 4:
            raise ValueError("a fault needs an effect: pass status, body, hang, reset or another option")
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        # 1. Two values for one response.
        if self.code is not None and (self.status is None or self.status < _FIRST_ERROR or self.body or self.edit):
            raise ValueError("code is that of the service's error: pass it with a status of 400 or more, and no body")
        if self.body is not None and self.edit is not None:
            raise ValueError("edit changes the real response and body replaces it: pass one of them")
        if self.limit is not None and self.replaces_response:
            raise ValueError("limit cuts the real response, and status or body replaces it: omit limit")
        if self.action is Action.DOWNLOAD and (self.edit or self.code or self.limit is not None):
            raise ValueError("edit, code and limit change JSON, and a download has none: pass body or cut")
        if self.status in BODILESS_STATUSES and (self.body or self.edit):
            raise ValueError(f"a response of status {self.status} has no body: omit body and edit")
        # 2. Changes to a response that is not sent, or to a body that does not exist.
        if self.delivery.sends_nothing and (invisible := self._invisible_options()):
            never = self.delivery.hang == math.inf
            reason = "hang=math.inf never responds" if never else "reset sends nothing without truncate or cut"
            raise ValueError(f"{invisible} would have no effect, because {reason}: omit {invisible}")
        if self.delivery.needs_body and self._has_no_body:
            raise ValueError(
                "truncate, cut, drip and split need a body, which this response does not have: pass body too"
            )

    @property
    def replaces_response(self) -> bool:
        """Whether the request gets a response without being processed."""
        return self.edit is None and (self.status is not None or self.body is not None)

    @property
    def _has_no_body(self) -> bool:
        if self.status in BODILESS_STATUSES or self.body == b"":
            return True
        return self.replaces_response and self.body is None and self.status is not None and self.status < _FIRST_ERROR

    def _invisible_options(self) -> str:
        """Return the names of the options that a response which is not sent cannot show."""
        options = {
            "edit": self.edit,
            "limit": self.limit,
            "headers": self.delivery.headers,
            "truncate": self.delivery.truncate,
            "cut": self.delivery.cut,
            "drip": self.delivery.drip,
            "split": self.delivery.split,
            "reset": True if self.delivery.reset and self.delivery.hang == math.inf else None,
        }
        return " and ".join(name for name, value in options.items() if value is not None)

    def applies_to(self, action: Action | None) -> bool:
        """Return whether a request of this kind is hit and can show the effect."""
        is_meant = action is not Action.DOWNLOAD if self.action is None else action is self.action
        return is_meant and (self.limit is None or action in _BATCHES)

    def replacement(self, build_error: Callable[[int, str | None], RawResponse]) -> RawResponse:
        """Return the response that replaces the real one.

        Args:
            build_error: Returns the addressed service's own error for a status of 400 or more and a code.
        """
        status = 200 if self.status is None else self.status
        # 1. The given body.   2. No body below 400.   3. A gateway's page.   4. The service's documented error.
        if isinstance(self.body, bytes):
            return RawResponse(status=status, content=self.body)
        if status < _FIRST_ERROR:
            return RawResponse(status=status, content=b"")
        return (None if self.code else gateway_page(status)) or build_error(status, self.code)

    def edited(self, response: RawResponse) -> RawResponse:
        """Return the real response as changed by `edit`.

        Raises:
            TypeError: `edit` returned None, or a value that JSON cannot represent.
        """
        if self.edit is None:
            return response
        result = self.edit(msgspec.json.decode(response.content))
        if result is None:
            raise TypeError("edit returned None: return the changed response, or b'null' for a body of null")
        content = bytes(result) if isinstance(result, bytes | bytearray | memoryview) else msgspec.json.encode(result)
        return RawResponse(status=response.status if self.status is None else self.status, content=content)


def _encode_body(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError) as error:
        raise TypeError(f"body must be bytes, text or a JSON value, got {body!r}: {error}") from error
