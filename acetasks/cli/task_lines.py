"""Formats a task as a line of text for reading, or as a line of JSON for programs.

A text line has line breaks and control characters from the remote service escaped.
"""

from __future__ import annotations

import msgspec
from rich.text import Text

from acetasks import AceTasksError, APIError, Task, TaskError, TaskState
from acetasks._records import escape_controls
from acetasks.cli.formatting import format_duration

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


def encode_task_line(task: Task, error: AceTasksError | None = None) -> bytes:
    """Encode a task as one JSON object, in the form of `Task.to_json`.

    Args:
        task: The task, as last seen if `error` is set.
        error: The error that prevented polling it, or None. It replaces the task's own error.

    Returns:
        JSON without a line break.
    """
    task_error = task.error
    if error is not None:
        task_error = TaskError(message=str(error), code=error.code if isinstance(error, APIError) else None)
    return msgspec.structs.replace(task, error=task_error).to_json()


def format_task_line(task: Task, error: AceTasksError | None = None) -> Text:
    """Format a task as one line of text: state, provider, id, then its results or errors.

    Args:
        task: The task, as last seen if `error` is set.
        error: The error that prevented polling it, or None.

    Returns:
        One line, not wrapped.
    """
    line = Text(no_wrap=True)
    line.append(f"{task.state.value:<{_STATE_WIDTH}}", _STYLES[task.state])
    line.append(f"  {task.provider}  ")
    line.append(escape_controls(task.id), "bold")
    if task.duration is not None:
        line.append(f"  {format_duration(task.duration)}")
    if task.progress is not None and not task.state.is_terminal:
        line.append(f"  {task.progress:g} %")
    for artifact in task.artifacts:
        if artifact.role == "main":
            line.append(f"  {_shorten_url(artifact.url)}")
    if task.error is not None:
        code = f"{task.error.code}: " if task.error.code else ""
        line.append(f"  {escape_controls(code + task.error.message)}", "red")
    if error is not None:
        line.append(f"  {escape_controls(str(error))}", "red")
    return line


def _shorten_url(url: str) -> str:
    """Return a URL in full, or only the beginning of a data URL."""
    if len(url) <= _MAX_URL_LENGTH:
        return escape_controls(url)
    return f"{escape_controls(url[:_URL_PREFIX_LENGTH])}... ({len(url):,} characters)"
