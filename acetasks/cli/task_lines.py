"""Formats a task as a line of text for reading, or as a line of JSON for programs.

A text line has line breaks and control characters from the remote service escaped.
"""

from __future__ import annotations

import time

import msgspec
from rich.text import Text

from acetasks import AceTasksError, APIError, ProtocolError, Task, TaskError, TaskState
from acetasks._records import escape_controls
from acetasks.cli.formatting import format_duration
from acetasks.cli.shell_words import describe_error
from acetasks.providers import ProviderSpec, specs

_STYLES = {
    TaskState.PENDING: "dim",
    TaskState.RUNNING: "cyan",
    TaskState.SUCCEEDED: "green",
    TaskState.PARTIAL: "magenta",
    TaskState.FAILED: "red",
    TaskState.NOT_FOUND: "red",
}
_STATE_WIDTH = max(len(state) for state in TaskState)
#: A longer URL is a data URL, which contains the file itself.
_MAX_URL_LENGTH = 2_000
#: Characters shown of such a URL.
_URL_PREFIX_LENGTH = 40
#: Characters shown of a result that is no file, on a terminal: a token of a captcha has up to five thousand.
_MAX_RESPONSE_LENGTH = 10_000


class RowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Row of a file that a task was submitted for.

    Attributes:
        number: Its position in the file, from 1.
        key: Its key in the journal.
    """

    number: int
    key: str


def encode_task_line(
    task: Task,
    error: AceTasksError | TaskError | None = None,
    *,
    row: RowInfo | None = None,
    state: str | None = None,
) -> bytes:
    """Encode a task as one JSON object, in the form of `Task.to_json`.

    Args:
        task: The task, as last seen if `error` is set.
        error: The reason why the task could not be polled or has not ended, or None. It replaces the task's own error.
        row: Its row of a file, or None.
        state: A word in place of the task's state, or None.

    Returns:
        JSON without a line break.
    """
    line = replace_error(task, error).to_dict()
    line["state"] = state or task.state
    if row is not None:
        line |= {"row": row.number, "key": row.key}
    return msgspec.json.encode(line)


def replace_error(task: Task, error: AceTasksError | TaskError | None) -> Task:
    """Return a task with the error that prevented polling it in place of its own; the task itself without one."""
    if isinstance(error, AceTasksError):
        error = TaskError(message=describe_error(error), code=error.code if isinstance(error, APIError) else None)
    return task if error is None else msgspec.structs.replace(task, error=error)


def format_task_line(
    task: Task,
    error: AceTasksError | None = None,
    *,
    row: RowInfo | None = None,
    state: str | None = None,
    width: int | None = None,
    now: float | None = None,
) -> Text:
    """Format a task as one line of text: state, provider, id, then its results or errors.

    Args:
        task: The task, as last seen if `error` is set.
        error: The error that prevented polling it, or None.
        row: Its row of a file, or None.
        state: A word in place of the task's state, or None.
        width: Columns of the terminal: of a longer line, each result or error has an indented line of its own, and
            a result that is no file is shortened. None for no terminal.
        now: The time, in seconds since the epoch, for the age of an unfinished task; None reads the clock.

    Returns:
        The line, not wrapped.
    """
    head = _format_head(task, row, state or task.state.value, time.time() if now is None else now)
    details = _list_results(task, _MAX_RESPONSE_LENGTH if width is not None else None)
    if task.error is not None:
        code = f"{task.error.code}: " if task.error.code else ""
        details.append(Text(escape_controls(code + task.error.message), "red"))
    if error is not None:
        details.append(Text(escape_controls(describe_error(error)), "red"))
    line = Text("  ", no_wrap=True).join([head, *details])
    if width is not None and line.cell_len > width:
        line = Text("\n  ", no_wrap=True).join([head, *details])
    return line


def _format_head(task: Task, row: RowInfo | None, state: str, now: float) -> Text:
    """Return state, provider, id, row and times of a task."""
    head = Text(no_wrap=True)
    head.append(f"{state:<{_STATE_WIDTH}}", "red" if not task.id else _STYLES[task.state])
    head.append(f"  {task.provider}")
    if task.id:
        head.append("  ").append(escape_controls(task.id), "bold")
    if row is not None:
        head.append(f"  row {row.number}")
    if task.duration is not None:
        head.append(f"  {format_duration(task.duration)}")
    if not task.state.is_terminal:
        head.append(_describe_progress(task, now))
    return head


def _describe_progress(task: Task, now: float) -> str:
    """Return progress and age of an unfinished task, and how long such tasks usually take."""
    parts = [f"{task.progress:g} %"] if task.progress is not None else []
    if task.created_at is not None and now >= task.created_at:
        parts.append(f"for {format_duration(now - task.created_at)}")
        if (usual := _find_typical_duration(task.provider)) is not None:
            parts.append(f"(usually {format_duration(usual)})")
    return "".join(f"  {part}" for part in parts)


def _find_typical_duration(provider: str) -> float | None:
    """Return the seconds that tasks of a known provider usually take; None for another one."""
    known: dict[str, ProviderSpec] = {spec.slug: spec for spec in specs()}
    return known[provider].typical_duration if provider in known else None


def _list_results(task: Task, max_length: int | None) -> list[Text]:
    """Return the paths or URLs of the main files; without any, the response of a task that was successful."""
    files = [item for item in task.artifacts if item.role == "main"]
    if files:
        return [Text(escape_controls(item.path) if item.path else _shorten_url(item.url)) for item in files]
    response = _read_response(task) if task.state in {TaskState.SUCCEEDED, TaskState.PARTIAL} else None
    if not response:
        return []
    text = escape_controls(msgspec.json.encode(response).decode())
    if max_length is not None and len(text) > max_length:
        text = f"{text[:max_length]}... ({len(text):,} characters; --json has all of them)"
    return [Text(text)]


def _read_response(task: Task) -> dict[str, object] | None:
    try:
        return task.response
    except ProtocolError:
        return None


def _shorten_url(url: str) -> str:
    """Return a URL in full, or only the beginning of a data URL."""
    if len(url) <= _MAX_URL_LENGTH:
        return escape_controls(url)
    return f"{escape_controls(url[:_URL_PREFIX_LENGTH])}... ({len(url):,} characters)"
