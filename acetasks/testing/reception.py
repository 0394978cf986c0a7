"""The reception: finds out what a request is for, before anything is done about it.

A request that has to be refused is understood as well: the refusal is kept until it is decided what really happens to
the request. This room reads requests and answers none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from acetasks.providers.spec import ProviderSpec, Service
from acetasks.testing.answers import RefusalError, build_refusal
from acetasks.testing.desk import Action, Inquiry, read_inquiry, read_query
from acetasks.testing.faults import Fault
from acetasks.testing.looks import Json
from acetasks.testing.routes import Routes

if TYPE_CHECKING:
    from acetasks.testing.routes import Route


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request as the server saw it.

    Attributes:
        time: When it came, in seconds on the clock of the server's event loop.
        method: Its HTTP method.
        path: Its path.
        provider: The slug of the provider it is for; empty where the path is no provider's.
        action: What it is for, or None where it was refused before that was read.
        ids: The ids asked, or the id of the task submitted once there is one.
        fault: The scripted fault that hit it, or None.
        status: The HTTP status of the answer, or None while there is none.
    """

    time: float
    method: str
    path: str
    provider: str = ""
    action: Action | None = None
    ids: tuple[str, ...] = ()
    fault: Fault | None = None
    status: int | None = None


class Question(msgspec.Struct, frozen=True):
    """A tasks call: a provider's row, and what is asked."""

    spec: ProviderSpec
    inquiry: Inquiry


class Submission(msgspec.Struct, frozen=True):
    """A submission: a provider's row, and what is submitted."""

    spec: ProviderSpec
    body: Json


class Errand(msgspec.Struct, frozen=True):
    """What a request is for: the service it was meant for, and what is wanted there or why that is refused."""

    service: Service
    wish: Question | Submission | RefusalError


class Reception:
    """Understands requests."""

    def __init__(self) -> None:
        self._routes = Routes()

    def __repr__(self) -> str:
        return f"<Reception with {self._routes!r}>"

    async def read(self, request: web.BaseRequest, seen: RecordedRequest, *, token: str) -> Errand:
        """Read a request, and record what it is for.

        Args:
            request: The request.
            seen: Its record.
            token: The bearer token that it must carry.

        Returns:
            What it is for.
        """
        route = self._routes.find(seen.method, seen.path)
        service = Service.ACEDATA if route is None else route.spec.service
        if route is not None:
            seen.provider = route.spec.slug
        # 1. A stranger.   2. Nowhere to go.   3. What it says.
        if request.headers.get("Authorization") != f"Bearer {token}":
            return Errand(service, build_refusal(service, 401))
        if route is None:
            return Errand(service, build_refusal(service, 404))
        try:
            wish = await _read_wish(request, route)
        except RefusalError as refusal:
            return Errand(service, refusal)
        if isinstance(wish, Question):
            seen.action, seen.ids = wish.inquiry.action, wish.inquiry.ids
        else:
            seen.action = Action.SUBMIT
        return Errand(service, wish)


async def _read_wish(request: web.BaseRequest, route: Route) -> Question | Submission:
    """Read what is wanted of a provider.

    Raises:
        RefusalError: It cannot be understood.
    """
    spec = route.spec
    if not route.asks:
        return Submission(spec, await _read_body(request))
    if request.method == "GET":
        return Question(spec, read_query(spec, request.query))
    return Question(spec, read_inquiry(spec, await _read_body(request)))


async def _read_body(request: web.BaseRequest) -> Json:
    """Read a request's body.

    Raises:
        RefusalError: It is no JSON object, or larger than the service takes.
    """
    try:
        body = msgspec.json.decode(await request.read())
    except web.HTTPRequestEntityTooLarge:
        raise RefusalError(413, "request_too_large", "Request body is too large.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusalError(400, "bad_request", "The request body is no JSON.") from None
    if not isinstance(body, dict):
        raise RefusalError(400, "bad_request", "The request body must be a JSON object.")
    return body
