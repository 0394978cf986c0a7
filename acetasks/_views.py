"""Views of a task for other libraries: HTML for notebooks, and the schemas with which pydantic reads and writes one.

The views are built from the JSON values of a task, so that this module need not know the type.
"""

from __future__ import annotations

import html
import importlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

#: HTML of an artifact by its kind; the address is escaped before it is inserted.
_MEDIA = {
    "video": '<video controls preload="metadata" style="max-width:24em" src="{url}"></video>',
    "image": '<img style="max-width:24em" src="{url}">',
    "audio": '<audio controls preload="none" src="{url}"></audio>',
    "file": '<a href="{url}">{url}</a>',
}
#: Other schemes, such as `javascript:`, are shown as text: the address is the service's.
_SCHEMES = ("https://", "http://", "data:image/", "data:video/", "data:audio/")


def render_task(title: str, media: list[tuple[str, str]]) -> str:
    """Return a task as HTML.

    Args:
        title: Text of the first line.
        media: Kind and address of each file to show.
    """
    parts = [f"<div>{html.escape(title)}</div>"]
    for kind, url in media:
        template = _MEDIA[kind] if url.lower().startswith(_SCHEMES) else "<code>{url}</code>"
        parts.append(f"<div>{template.format(url=html.escape(url))}</div>")
    return "".join(parts)


def build_pydantic_schema(
    task_type: type, read: Callable[[object], object], write: Callable[[Any], dict[str, object]]
) -> Any:  # noqa: ANN401  # a schema of pydantic-core, which need not be installed
    """Return the schema with which pydantic validates and serialises tasks.

    Args:
        task_type: The type, instances of which are valid as they are.
        read: Converts plain values to a task, or raises ValueError.
        write: Returns a task's plain values.
    """
    core = importlib.import_module("pydantic_core").core_schema  # pydantic calls this, so it is installed
    return core.json_or_python_schema(
        json_schema=core.no_info_plain_validator_function(read),
        python_schema=core.union_schema(
            [core.is_instance_schema(task_type), core.no_info_plain_validator_function(read)]
        ),
        serialization=core.plain_serializer_function_ser_schema(write, return_schema=core.any_schema()),
    )


def build_json_schema(task_type: type) -> dict[str, object]:
    """Return the JSON schema of `Task.to_dict()`, with nothing referred to elsewhere."""
    schemas, components = msgspec.json.schema_components([task_type], ref_template="{name}")
    (reference,) = schemas
    schema: dict[str, Any] = _resolve(components[reference["$ref"]], components)
    properties = schema["properties"]
    del properties["raw"]
    anything: dict[str, object] = {}
    properties |= {"cost": anything, "usage": anything, "response": anything}
    return schema | {"description": "A generation task."}


def _resolve(schema: Any, components: dict[str, Any]) -> Any:  # noqa: ANN401  # any part of a JSON schema
    """Return a schema with each reference replaced by what it refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolve(components[schema["$ref"]], components)
        # A description is a docstring here, written for readers of the code.
        return {key: _resolve(value, components) for key, value in schema.items() if not _is_description(key, value)}
    return [_resolve(item, components) for item in schema] if isinstance(schema, list) else schema


def _is_description(key: str, value: object) -> bool:
    """Return whether an entry is the text of a description, and not a property of that name."""
    return key == "description" and isinstance(value, str)
