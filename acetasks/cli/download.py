"""`acetasks download`: downloads the files of tasks that have ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from acetasks import Client, DownloadError, Task, TaskState
from acetasks.cli.client_setup import build_client
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.formatting import format_count
from acetasks.cli.get import retrieve_each
from acetasks.cli.options import ClientOptions, OutputOptions, Targets
from acetasks.cli.results import TaskResult
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.shell_words import describe_error
from acetasks.cli.targets import Key, format_target, parse_targets
from acetasks.cli.task_lines import encode_task_line

if TYPE_CHECKING:
    from collections.abc import Sequence


class DownloadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for which files are downloaded."""

    all_roles: Annotated[bool, typer.Option("--all-roles", help="Download covers, last frames and the like too.")] = (
        False
    )
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of an earlier download.")] = False


def download(
    context: typer.Context,
    targets: Targets,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory, created if it does not exist.")],
    *,
    files: DownloadOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """Download the files of tasks that have ended, and print their paths.

    A file that is there already is not downloaded again.

    Exit codes: 0 all downloaded, 1 any has failed or has no files yet, 2 wrong usage or bad token.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        keys = parse_targets(targets)
        client = build_client(client_options, targets=keys)
        return run_async(_download_tasks(client, keys, directory, screen, files, as_json=output.as_json))

    how_to_go_on = "run the same command again to go on; files that are complete are not downloaded again"
    raise typer.Exit(run_command(screen, action, how_to_go_on=how_to_go_on))


async def _download_tasks(
    client: Client, keys: Sequence[Key], directory: Path, screen: Screen, files: DownloadOptions, *, as_json: bool
) -> ExitCode:
    roles = None if files.all_roles else ("main",)

    async def download_one(result: TaskResult) -> int | None:
        """Download and print the files of one task, and return their number; None if there is a problem."""
        problem = _find_problem(result)
        paths: list[Path] = []
        if not problem:
            try:
                paths = await client.download(result.task, directory, roles=roles, overwrite=files.overwrite)
            except DownloadError as error:
                problem = describe_error(error)
        if problem:
            screen.warning(f"{format_target((result.task.provider, result.task.id))}: {problem}")
            return None
        if as_json:
            screen.print_json(encode_task_line(_with_paths(result.task, paths, files)))
        else:
            for path in paths:
                screen.print_line(str(path))
        return len(paths)

    async with client:
        results = await retrieve_each(client, keys)
        counts = await asyncio.gather(*(download_one(results[key]) for key in keys))
    number = sum(filter(None, counts))
    screen.info(f"{format_count(number, 'file')} in {directory}")
    return ExitCode.FAILED if None in counts else ExitCode.OK


def _find_problem(result: TaskResult) -> str:
    """Return why a task has nothing to download, or an empty text."""
    task = result.task
    if result.error is not None:
        return describe_error(result.error)
    if not task.state.is_terminal:
        target = format_target((task.provider, task.id))
        return f"{task.state.value}, no files yet; wait for them with: acetasks wait {target} --download DIR"
    if task.state not in {TaskState.SUCCEEDED, TaskState.PARTIAL}:
        return task.state.value.replace("_", " ") + (f": {task.error.message}" if task.error else "")
    return "" if task.artifacts else "its result is no file; print it with: acetasks get"


def _with_paths(task: Task, paths: Sequence[Path], files: DownloadOptions) -> Task:
    """Return a task with the paths of its downloaded artifacts, which are in the same order."""
    left = iter(paths)
    artifacts = [
        msgspec.structs.replace(item, path=str(next(left))) if files.all_roles or item.role == "main" else item
        for item in task.artifacts
    ]
    return msgspec.structs.replace(task, artifacts=tuple(artifacts))
