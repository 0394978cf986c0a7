"""The page itself: renders rows and figures with Jinja2 into one file, under a strict content security policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from acetasks._formatting import format_count, format_duration
from acetasks._runtime import read_wall_clock
from acetasks.report import durations, timeline
from acetasks.report import text as formats
from acetasks.report.media import MediaReader
from acetasks.report.rows import build_row
from acetasks.report.summary import build_summary

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import jinja2

    from acetasks._ledger import Entry
    from acetasks.models import Task

_FILTERS = {
    "amount": lambda pair: formats.format_amount(*pair),
    "compact": formats.compact_markup,
    "count": format_count,
    "duration": format_duration,
    "iso": formats.format_iso_time,
    "label": lambda state: state.replace("_", " "),
    "time": formats.format_time,
}


def write_report(
    tasks: Iterable[Task | Entry], path: str | os.PathLike[str], *, title: str = "Tasks", now: float | None = None
) -> Path:
    """Write a report of tasks as one HTML page, and replace the file that is there.

    Args:
        tasks: Tasks, or entries of a journal, in the order to show them.
        path: The file. Downloaded files of tasks are shown from where they are, with paths relative to it.
        title: The title of the page.
        now: The time of the report, in seconds since the epoch; None reads the machine's clock.

    Returns:
        The file.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed; the message has the command that installs it.
        OSError: The file cannot be written. The one that was there is unchanged.
    """
    target = Path(path)
    page = render_report(tasks, directory=target.parent, title=title, now=now)
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.write_text(page, "utf-8", newline="\n")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def render_report(
    tasks: Iterable[Task | Entry],
    *,
    directory: str | os.PathLike[str] = ".",
    title: str = "Tasks",
    now: float | None = None,
) -> str:
    """Return a report of tasks as one HTML page.

    Args:
        tasks: Tasks, or entries of a journal, in the order to show them.
        directory: The folder that the page will be in; paths to downloaded files are relative to it.
        title: The title of the page.
        now: The time of the report, in seconds since the epoch; None reads the machine's clock.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed; the message has the command that installs it.
    """
    environment = _open_environment()
    now = read_wall_clock() if now is None else now
    files = MediaReader(Path(directory))
    rows = [build_row(number, task, files) for number, task in enumerate(tasks, 1)]
    style, script = _read_asset("page.css"), _read_asset("page.js")
    return environment.get_template("page.html.j2").render(
        title=title,
        now=now,
        rows=rows,
        summary=build_summary(rows, now=now),
        style=style,
        script=script,
        policy=build_policy(style, script, files.origins),
        histogram=durations,
        timeline=timeline,
    )


def build_policy(style: str, script: str, origins: Iterable[str]) -> str:
    """Return the content security policy of a page: its own script and style by their hashes, and media.

    Args:
        style: The style.
        script: The script.
        origins: What media may be loaded from.
    """
    media = " ".join(sorted(origins)) or "'none'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash_source(script)}'",
            f"style-src '{_hash_source(style)}'",
            f"img-src {media}",
            f"media-src {media}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash_source(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


@functools.cache
def _read_asset(name: str) -> str:
    """Return a file of this package as markup: its text must be in the page as it was hashed."""
    import markupsafe  # noqa: PLC0415  # installed with Jinja2

    text = importlib.resources.files("acetasks.report").joinpath(name).read_text("utf-8")
    return markupsafe.Markup(text)  # noqa: S704  # a file of this package


@functools.cache
def _open_environment() -> jinja2.Environment:
    try:
        import jinja2  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        message = "jinja2 is not installed: python -m pip install jinja2"
        raise ModuleNotFoundError(message, name="jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("acetasks", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _finalize(value: object) -> object:
    """Clean each text that the template outputs, before it is escaped; markup of the template's own stays."""
    return formats.clean_text(value) if type(value) is str else value
