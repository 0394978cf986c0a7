"""Request parsing: from method and path to the provider, and from the body to a tasks call, a submission or a download.

A rejected request is parsed as well: whether the rejection is sent depends on the scripted faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from acetasks.providers.spec import ProviderSpec, Service, TasksCall
from acetasks.providers.table import lookup, specs
from acetasks.testing.catalogs import CatalogRequest, find_catalog
from acetasks.testing.files import Download, parse_download
from acetasks.testing.requests import Action, TasksQuery, parse_body, parse_query_string
from acetasks.testing.responses import RequestRejectedError, documented_error
from acetasks.testing.samples import UNPOLLED
from acetasks.testing.snapshot import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.testing.faults import RecordedRequest


class Route(msgspec.Struct, frozen=True):
    """A provider's tasks call or submission."""

    spec: ProviderSpec
    is_tasks_call: bool


class RouteTable:
    """Routes by method and path, including those of providers registered while the server runs."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], Route] = {}
        self._roots: set[str] = set()
        self._allowed: set[str] = set()
        self._load()

    def __repr__(self) -> str:
        return f"<RouteTable providers={len({route.spec.slug for route in self._routes.values()})}>"

    def allow(self, slug: str) -> None:
        """Serve a provider even if it has no spec."""
        self._allowed.add(slug)

    def find(self, method: str, path: str) -> Route | None:
        """Return the route of a request, or None if the service has no such endpoint."""
        route = self._routes.get((method, path))
        # Providers may have been registered or replaced since the table was loaded.
        if route is None or not (route.spec in UNPOLLED or lookup(route.spec.slug) is route.spec):
            self._load()
            route = self._routes.get((method, path))
        return route or self._find_unlisted(method, path)

    def _load(self) -> None:
        self._routes = {key: route for spec in (*UNPOLLED, *specs()) for key, route in _routes_of(spec)}
        self._roots = {path.split("/")[1] for _, path in self._routes}

    def _find_unlisted(self, method: str, path: str) -> Route | None:
        """Return the standard route of an allowed provider: `/<slug>/tasks`, or any other path to submit."""
        _, root, *rest = path.split("/") if path.count("/") > 1 else ("", "", "")
        if method != "POST" or root in self._roots or root not in self._allowed or not all(rest):
            return None
        return Route(lookup(root), is_tasks_call=rest == ["tasks"])


class TasksRequest(msgspec.Struct, frozen=True):
    """A provider's tasks call."""

    spec: ProviderSpec
    query: TasksQuery


class Submission(msgspec.Struct, frozen=True):
    """A submission to a provider."""

    spec: ProviderSpec
    body: Json


class ParsedRequest(msgspec.Struct, frozen=True):
    """The addressed service, and the request's content or the reason to reject it."""

    service: Service
    content: TasksRequest | Submission | CatalogRequest | Download | RequestRejectedError


class RequestParser:
    """Parses requests and completes their records."""

    def __init__(self) -> None:
        self._routes = RouteTable()

    def __repr__(self) -> str:
        return f"<RequestParser {self._routes!r}>"

    def allow(self, slug: str) -> None:
        """Serve a provider even if it has no spec."""
        self._routes.allow(slug)

    async def parse(self, request: web.BaseRequest, record: RecordedRequest, *, token: str) -> ParsedRequest:
        """Parse a request and set the body, provider, action and ids of its record.

        Args:
            request: The request.
            record: The record of the request.
            token: The bearer token that the request must have.
        """
        download = parse_download(record.method, request.rel_url.raw_path)
        if download is not None:
            record.provider, record.action = download.provider, Action.DOWNLOAD
            return ParsedRequest(Service.ACEDATA, download)
        body = await _read_json(request)
        record.body = None if isinstance(body, RequestRejectedError) else body
        catalog = find_catalog(record.method, record.path)
        route = (
            self._routes.find(record.method, record.path) if catalog is None else Route(catalog, is_tasks_call=False)
        )
        service = Service.ACEDATA if route is None else route.spec.service
        if route is not None:
            record.provider = route.spec.slug
        refusal = _find_token_error(service, request.headers.get("Authorization"), token)
        if refusal is not None:
            return ParsedRequest(service, refusal)
        if route is None:
            return ParsedRequest(service, documented_error(service, 404))
        if catalog is not None:
            return ParsedRequest(service, CatalogRequest(catalog, record.method, record.path, dict(request.query)))
        try:
            content = _parse_content(request, route, body)
        except RequestRejectedError as error:
            return ParsedRequest(service, error)
        if isinstance(content, TasksRequest):
            record.action, record.ids = content.query.action, content.query.ids
        else:
            record.action = Action.SUBMIT
        return ParsedRequest(service, content)


def _find_token_error(service: Service, authorization: str | None, token: str) -> RequestRejectedError | None:
    if authorization is None and service is Service.ACEDATA:
        return documented_error(service, 400, "no_token")
    return documented_error(service, 401) if authorization != f"Bearer {token}" else None


def _parse_content(request: web.BaseRequest, route: Route, body: object) -> TasksRequest | Submission:
    spec = route.spec
    if route.is_tasks_call and request.method == "GET":
        return TasksRequest(spec, parse_query_string(spec, request.query))
    if isinstance(body, RequestRejectedError):
        raise body
    if not isinstance(body, dict):
        raise RequestRejectedError(400, "bad_request", "The request body must be a JSON object.")
    return TasksRequest(spec, parse_body(spec, body)) if route.is_tasks_call else Submission(spec, body)


async def _read_json(request: web.BaseRequest) -> object:
    """Return a request's decoded JSON, or the error for a body that is larger than the service accepts or no JSON."""
    try:
        return msgspec.json.decode(await request.read())
    except web.HTTPRequestEntityTooLarge:
        return RequestRejectedError(413, "request_too_large", "Request body is too large.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RequestRejectedError(400, "bad_request", "The request body is no JSON.")


def _routes_of(spec: ProviderSpec) -> Iterator[tuple[tuple[str, str], Route]]:
    for path in spec.submit_paths:
        yield ("POST", path), Route(spec, is_tasks_call=False)
    if spec in UNPOLLED:
        return
    method = "GET" if spec.tasks_call is TasksCall.QUERY else "POST"
    for path in {spec.path, spec.path.rstrip("/")}:
        yield (method, path), Route(spec, is_tasks_call=True)
