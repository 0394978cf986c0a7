"""How tasks are printed: a line for people, or one JSON object a line for programs.

What services send is foreign text: a line for people has no line ends and no control characters of theirs in it.
"""

from __future__ import annotations

import msgspec
from rich.text import Text

from acetasks.cli.words import clean, seconds_in_words
from acetasks.errors import AceTasksError, APIError
from acetasks.models import Task, TaskError, TaskState

_STYLES = {
    TaskState.PENDING: "dim",
    TaskState.RUNNING: "cyan",
    TaskState.SUCCEEDED: "green",
    TaskState.PARTIAL: "magenta",
    TaskState.FAILED: "red",
    TaskState.NOT_FOUND: "red",
}
_STATE_WIDTH = max(len(state) for state in TaskState)
#: An address that is longer has the file itself in it.
_URL_LIMIT = 2_000


class ArtifactLine(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact in a line of JSON: all its keys, always."""

    url: str
    kind: str
    role: str
    width: int | None
    height: int | None


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a line of JSON; see `acetasks.Task` for what each key means."""

    provider: str
    id: str
    state: str
    artifacts: list[ArtifactLine]
    error: TaskError | None
    progress: float | None
    created_at: float | None
    started_at: float | None
    finished_at: float | None
    duration: float | None
    trace_id: str | None


def encode_line(task: Task, error: AceTasksError | None = None) -> bytes:
    """Write a task as one JSON object.

    Args:
        task: The task.
        error: Why it could not be asked for, or None: the task is then as it was last seen, and this is its error.

    Returns:
        JSON without a line end.
    """
    why = task.error
    if error is not None:
        why = TaskError(message=str(error), code=error.code if isinstance(error, APIError) else None)
    artifacts = [
        ArtifactLine(url=item.url, kind=item.kind, role=item.role, width=item.width, height=item.height)
        for item in task.artifacts
    ]
    line = TaskLine(
        provider=task.provider,
        id=task.id,
        state=task.state,
        artifacts=artifacts,
        error=why,
        progress=task.progress,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        duration=task.duration,
        trace_id=task.trace_id,
    )
    return msgspec.json.encode(line)


def format_line(task: Task, error: AceTasksError | None = None) -> Text:
    """Write a task as a line for people: state, provider, id, and what came of it.

    Args:
        task: The task.
        error: Why it could not be asked for, or None.

    Returns:
        One line.
    """
    line = Text(no_wrap=True)
    line.append(f"{task.state.value:<{_STATE_WIDTH}}", _STYLES[task.state])
    line.append(f"  {task.provider}  ")
    line.append(clean(task.id), "bold")
    if task.duration is not None:
        line.append(f"  {seconds_in_words(task.duration)}")
    if task.progress is not None and not task.state.is_terminal:
        line.append(f"  {task.progress:g} %")
    for artifact in task.artifacts:
        if artifact.role == "main":
            line.append(f"  {_shorten(artifact.url)}")
    if task.error is not None:
        code = f"{task.error.code}: " if task.error.code else ""
        line.append(f"  {clean(code + task.error.message)}", "red")
    if error is not None:
        line.append(f"  {clean(str(error))}", "red")
    return line


def _shorten(url: str) -> str:
    """Show an address whole, but not a file that stands in the address's place."""
    if len(url) <= _URL_LIMIT:
        return clean(url)
    return f"{clean(url[:40])}... ({len(url):,} characters)"
