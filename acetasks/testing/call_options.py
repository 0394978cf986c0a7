"""What each provider's tasks call accepts beyond the calls that all providers have.

The facts are from the services' documents and official clients as of November 2026: the OpenAPI files and guides of
docs.acedata.cloud, and the tasks tools of the official MCP servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Default number of tasks in a history (openai, webextrator, midjourney and veo document 12).
HISTORY_LIMIT = 12


class CallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Variations of one provider's tasks call.

    Attributes:
        other_id_keys: Keys that are accepted in place of the provider's own key of a single id.
        by_trace: Whether tasks are found by `trace_id` and `trace_ids` too.
        action_is_optional: Whether a request without an action retrieves a single task.
        lists_without_id: Whether a single `retrieve` without an id lists the history.
        deletes: Whether there is an action `delete`.
        history_limit: Number of tasks in a history whose request has no limit.
    """

    other_id_keys: tuple[str, ...] = ()
    by_trace: bool = False
    action_is_optional: bool = False
    lists_without_id: bool = False
    deletes: bool = False
    history_limit: int = HISTORY_LIMIT


_STANDARD = CallOptions()
_BY_TRACE = CallOptions(by_trace=True)
_WITH_DELETE = CallOptions(deletes=True)

_OPTIONS: Mapping[str, CallOptions] = {
    "digital-human": CallOptions(action_is_optional=True, deletes=True),
    "dreamina": _BY_TRACE,
    # The guide maestro_tasks has both.
    "maestro": CallOptions(action_is_optional=True, history_limit=20),
    # The guide async-tasks has `task_id`, and midjourney_tasks has `id`.
    "midjourney": CallOptions(other_id_keys=("task_id",), by_trace=True),
    "minimax": CallOptions(lists_without_id=True, deletes=True),
    "openai": _BY_TRACE,
    "qwen-image": _WITH_DELETE,
    "veo": _BY_TRACE,
    "wan": _WITH_DELETE,
    "webextrator": _BY_TRACE,
}


def call_options(slug: str) -> CallOptions:
    """Return a provider's variations of the tasks call."""
    return _OPTIONS.get(slug, _STANDARD)
