"""The two services: their tokens and base URLs, from arguments or the environment, and the proxies on the way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from acetasks._http.aiohttp_backend import check_session
from acetasks._http.auth import Endpoint, Secret
from acetasks._http.proxies import find_proxy
from acetasks.providers import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from acetasks._http.auth import TokenProvider
    from acetasks._http.proxies import Proxy


class _Settings(NamedTuple):
    """Environment variables of a service, with the names that the official tools use, and its default base URL."""

    token_variable: str
    url_variable: str
    default_url: str


_SERVICES = {
    Service.ACEDATA: _Settings("ACEDATACLOUD_API_TOKEN", "ACEDATACLOUD_API_BASE_URL", "https://api.acedata.cloud"),
    Service.USEAPI: _Settings("USEAPI_API_TOKEN", "USEAPI_API_BASE_URL", "https://api.useapi.net"),
}


def find_proxies(
    http: aiohttp.ClientSession | None, endpoints: Mapping[Service, Endpoint], *, allow_insecure: bool
) -> dict[Service, Proxy | None]:
    """Return the proxies of the environment, which are not used in a session of the user's; check that instead."""
    urls = {service: endpoint.base_url for service, endpoint in endpoints.items()}
    if http is None:
        return {service: find_proxy(url) for service, url in urls.items()}
    check_session(http, base_urls=urls.values(), allow_insecure=allow_insecure)
    return {}


def build_endpoints(
    tokens: Mapping[Service, Secret | TokenProvider | None],
    base_urls: Mapping[Service, str | None],
    *,
    timeout: float,
    allow_insecure: bool,
) -> dict[Service, Endpoint]:
    """Return the endpoint of each service; a base URL that is None is the environment's or the default one.

    Raises:
        ValueError: A base URL or token is malformed or insecure.
    """
    return {
        service: Endpoint(
            base_url=base_urls[service] or _from_environment(settings.url_variable) or settings.default_url,
            token=tokens[service],
            token_variable=settings.token_variable,
            timeout=timeout,
            allow_insecure=allow_insecure,
        )
        for service, settings in _SERVICES.items()
    }


def wrap_token(token: str | TokenProvider | None, service: Service) -> Secret | TokenProvider | None:
    """Return the token, or the one in the environment, as a `Secret`; a token provider is returned as it is."""
    if token is None:
        token = _from_environment(_SERVICES[service].token_variable)
    if isinstance(token, str):
        return Secret(token) if token else None
    is_provider, type_name = callable(token), type(token).__name__
    if not is_provider:
        del token  # it may be the token as bytes
        raise TypeError(f"a token must be a str or a callable that returns one, got {type_name}")
    return token


def _from_environment(variable: str) -> str:
    return os.environ.get(variable, "").strip()
