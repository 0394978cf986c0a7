"""Catalogs of what tasks have created for later use: suno's personas and fish's voice models.

They are read by GET requests, and a persona is deleted by a DELETE request (the web app of the service, guides:
fish/fish_model). The entries are those of the succeeded tasks, newest first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.providers.spec import ProviderSpec
from acetasks.providers.table import lookup
from acetasks.testing.responses import RawResponse, RequestRejectedError, json_response
from acetasks.testing.samples import template_for
from acetasks.testing.scenario import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acetasks.testing.scenario import Scenario
    from acetasks.testing.snapshot import Json
    from acetasks.testing.tasks_api import TasksApi

_PERSONA_PATH = "/suno/persona"
_PERSONA_PATHS = frozenset({_PERSONA_PATH, "/suno/voices"})
_MODEL_PATH = "/fish/model"
#: Default numbers of entries (suno: the official MCP server; fish: guides: fish/fish_model).
_PERSONAS_SHOWN = 50
_MODELS_SHOWN = 10


class CatalogRequest(msgspec.Struct, frozen=True):
    """A request for a provider's catalog, or for one entry of it."""

    spec: ProviderSpec
    method: str
    path: str
    query: dict[str, str]


def find_catalog(method: str, path: str) -> ProviderSpec | None:
    """Return the spec of the provider whose catalog a request is for, or None for any other request."""
    if method in {"GET", "DELETE"} and path == _PERSONA_PATH:
        return lookup("suno")
    is_model = path == _MODEL_PATH or path.startswith(f"{_MODEL_PATH}/")
    return lookup("fish") if method == "GET" and is_model else None


class Catalogs:
    """Responds to requests for catalogs.

    Args:
        scenario: The tasks.
        tasks_api: Makes their records.
    """

    def __init__(self, scenario: Scenario, tasks_api: TasksApi) -> None:
        self._scenario = scenario
        self._tasks_api = tasks_api
        self._deleted: set[object] = set()

    def __repr__(self) -> str:
        return f"<Catalogs {self._scenario!r} deleted={len(self._deleted)}>"

    def respond(self, request: CatalogRequest, *, now: float) -> RawResponse:
        """Return the response to a request at a loop time.

        Raises:
            RequestRejectedError: A number is invalid, or there is no such entry.
        """
        if request.spec.slug == "fish":
            return self._respond_models(request, now)
        personas = list(self._personas(request.spec, now))
        if request.method == "DELETE":
            persona_id = request.query.get("persona_id")
            if all(persona["persona_id"] != persona_id for persona in personas):
                raise RequestRejectedError(404, "not_found", "persona not found")
            self._deleted.add(persona_id)
            return json_response(200, {"success": True})
        start = _read_count(request.query, "offset", 0)
        shown = personas[start : start + _read_count(request.query, "limit", _PERSONAS_SHOWN)]
        return json_response(200, {"items": shown, "count": len(personas)})

    def _respond_models(self, request: CatalogRequest, now: float) -> RawResponse:
        models = [model for _, model in self._results(request.spec, frozenset({_MODEL_PATH}), now)]
        if request.path != _MODEL_PATH:
            for model in models:
                if request.path == f"{_MODEL_PATH}/{model['_id']}":
                    return json_response(200, model)
            raise RequestRejectedError(404, "not_found", "model not found")
        size = _read_count(request.query, "page_size", _MODELS_SHOWN)
        start = (_read_count(request.query, "page_number", 1) - 1) * size
        return json_response(200, {"items": models[max(start, 0) : start + size], "total": len(models)})

    def _personas(self, spec: ProviderSpec, now: float) -> Iterator[Json]:
        for record, response in self._results(spec, _PERSONA_PATHS, now):
            data, submitted = response["data"], record["request"]
            if not isinstance(data, dict) or not isinstance(submitted, dict) or data["persona_id"] in self._deleted:
                continue
            yield {
                "persona_id": data["persona_id"],
                "name": submitted.get("name"),
                "description": submitted.get("description"),
                "user_id": record["user_id"],
                "task_id": record["id"],
                "created_at": record["created_at"],
            }

    def _results(self, spec: ProviderSpec, paths: frozenset[str], now: float) -> Iterator[tuple[Json, Json]]:
        """Yield the record and the response of each succeeded task of these submission paths, newest first."""
        template = template_for(spec.slug)
        for task in self._scenario.history(spec.slug):
            if task.path in paths and task.phase_at(now) is Phase.SUCCEEDED:
                record = template.record(self._tasks_api.snapshot(spec, task, now=now))
                if isinstance(response := record["response"], dict):
                    yield record, response


def _read_count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise RequestRejectedError(400, "bad_request", f"{name} must be a whole number")
    return int(text)
