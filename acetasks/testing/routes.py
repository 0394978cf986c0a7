"""The routes: which provider a path belongs to, and whether it submits or asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import SLUG, ProviderSpec, TasksCall
from acetasks.providers.table import lookup, specs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Route(msgspec.Struct, frozen=True):
    """What a request's method and path mean: a provider's row, and whether its tasks are asked for."""

    spec: ProviderSpec
    asks: bool


class Routes:
    """Finds routes, those of providers included that are registered or first heard of while the server runs."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], Route] = {}
        self._roots: set[str] = set()
        self._read_table()

    def __repr__(self) -> str:
        return f"<Routes of {len({route.spec.slug for route in self._routes.values()})} providers>"

    def find(self, method: str, path: str) -> Route | None:
        """Find what a request is for.

        Args:
            method: Its HTTP method.
            path: Its path.

        Returns:
            The route, or None where the service has nothing of the kind.
        """
        route = self._routes.get((method, path))
        # The table may have got a new row, or another one of the same slug, since it was read.
        if route is None or lookup(route.spec.slug) is not route.spec:
            self._read_table()
            route = self._routes.get((method, path))
        return route or self._find_newcomer(method, path)

    def _read_table(self) -> None:
        self._routes = {key: route for spec in specs() for key, route in _routes_of(spec)}
        self._roots = {path.split("/")[1] for _, path in self._routes}

    def _find_newcomer(self, method: str, path: str) -> Route | None:
        """Serve a provider that has no row in the standard way: `/<slug>/tasks` asks, anything else submits."""
        _, root, *rest = path.split("/") if path.count("/") > 1 else ("", "", "")
        if method != "POST" or root in self._roots or not SLUG.fullmatch(root) or not all(rest):
            return None
        return Route(lookup(root), asks=rest == ["tasks"])


def _routes_of(spec: ProviderSpec) -> Iterator[tuple[tuple[str, str], Route]]:
    """List the routes of one provider."""
    for path in spec.submit_paths:
        yield ("POST", path), Route(spec, asks=False)
    method = "GET" if spec.tasks_call is TasksCall.QUERY else "POST"
    for path in {spec.path, spec.path.rstrip("/")}:
        yield (method, path), Route(spec, asks=True)
