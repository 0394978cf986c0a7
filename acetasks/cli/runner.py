"""Runs a command and turns its errors into exit codes.

Every command ends the same way on Ctrl-C, SIGTERM, a closed pipe, a full disk or a bad token: at most a few lines on
stderr, no traceback, and the terminal as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

from acetasks import AceTasksError, SubmissionUncertainError
from acetasks.cli.exit_codes import FATAL_ERRORS, CommandError, ExitCode
from acetasks.cli.shell_words import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from acetasks.cli.screen import Screen

T = TypeVar("T")


class Terminated(BaseException):
    """Raised when SIGTERM has ended a command."""


def run_command(
    screen: Screen, action: Callable[[], ExitCode], *, how_to_go_on: str | Callable[[], str] = ""
) -> ExitCode:
    """Run a command, and print the error that ends it.

    Args:
        screen: Prints the error.
        action: The command.
        how_to_go_on: What to print after Ctrl-C or SIGTERM: what goes on, and the command to continue with. A function
            is called then.

    Returns:
        The exit code.
    """
    try:
        try:
            code = action()
            sys.stdout.flush()
        except (KeyboardInterrupt, Terminated) as stop:
            code, word = _STOPS[type(stop)]
            text = how_to_go_on() if callable(how_to_go_on) else how_to_go_on
            screen.info(f"{word}: {text}" if text else word)
    except BrokenPipeError:
        discard_stdout()
        code = ExitCode.PIPE_CLOSED
    except OSError as error:
        # Files are read and written with errors of their own: this is stdout.
        discard_stdout()
        screen.error(f"cannot write to stdout: {error.strerror or error}")
        code = ExitCode.OUTPUT
    except CommandError as error:
        screen.error(str(error))
        code = error.code
    except AceTasksError as error:
        screen.error(describe_error(error))
        code = exit_code_of(error)
    return code


_STOPS: dict[type[BaseException], tuple[ExitCode, str]] = {
    KeyboardInterrupt: (ExitCode.INTERRUPTED, "interrupted"),
    Terminated: (ExitCode.TERMINATED, "terminated"),
}


def exit_code_of(error: AceTasksError) -> ExitCode:
    """Return the exit code of a command that an error has ended."""
    if isinstance(error, SubmissionUncertainError):
        return ExitCode.UNCERTAIN
    return ExitCode.USAGE if isinstance(error, FATAL_ERRORS) and not is_refused_content(error) else ExitCode.FAILED


def is_refused_content(error: AceTasksError) -> bool:
    """Return whether the service's moderation has refused one submission, which says nothing of the token."""
    return getattr(error, "code", None) == "forbidden"


def run_async(main: Coroutine[object, object, T]) -> T:
    """Run the coroutine of a command; SIGTERM cancels it as Ctrl-C does, so that every context exits.

    Raises:
        Terminated: It was cancelled by SIGTERM.
    """
    terminated = False

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        # Windows, and threads other than the main one, have no such handlers: there SIGTERM ends the process at once.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGTERM, terminate)
        return await main

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if not terminated:
            raise
        raise Terminated from None


def discard_stdout() -> None:
    """Redirect stdout to the null device: the flush at interpreter exit would fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except OSError:
        # A stdout without a file descriptor has nothing to flush.
        pass
    finally:
        os.close(devnull)
