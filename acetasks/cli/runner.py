"""Runs a command and turns its errors into exit codes.

Every command ends the same way on Ctrl-C, a closed pipe or a bad token: at most one line on stderr, no traceback.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from acetasks import AceTasksError
from acetasks.cli.exit_codes import FATAL_ERRORS, CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks.cli.screen import Screen


def run_command(screen: Screen, action: Callable[[], ExitCode], *, interrupted: str) -> ExitCode:
    """Run a command, and print the error that ends it.

    Args:
        screen: Prints the error.
        action: The command.
        interrupted: Message to print after Ctrl-C.

    Returns:
        The exit code.
    """
    try:
        return action()
    except KeyboardInterrupt:
        screen.info(interrupted)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return ExitCode.PIPE_CLOSED
    except CommandError as error:
        screen.error(str(error))
        return error.code
    except AceTasksError as error:
        screen.error(str(error))
        return ExitCode.USAGE if isinstance(error, FATAL_ERRORS) else ExitCode.FAILED


def _discard_stdout() -> None:
    """Redirect stdout to the null device: the flush at interpreter exit would fail on the closed pipe."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except OSError:
        # A stdout without a file descriptor has nothing to flush.
        pass
    finally:
        os.close(devnull)
