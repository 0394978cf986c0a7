"""How a command ends: exit codes, and which error becomes which.

Every command runs through `run`, so that Ctrl-C, a closed pipe and a missing token end each of them in the same way:
one line on stderr, no traceback.
"""

from __future__ import annotations

import enum
import os
import sys
from typing import TYPE_CHECKING

from acetasks.errors import AceTasksError, AuthenticationError, PermissionDeniedError, UnknownProviderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks.cli.screen import Screen

#: Errors that no other id would be spared: they end a command, and the user has something to put right.
FINAL_ERRORS = (AuthenticationError, PermissionDeniedError, UnknownProviderError)


class Exit(enum.IntEnum):
    """Exit codes. Of 0, 1 and 3 the largest that applies is given; each of the others ends a command."""

    #: Every task has succeeded; or, at one look, none has failed.
    OK = 0
    #: A task failed, in whole or in part, is not known or could not be asked for.
    FAILED = 1
    #: The command was called wrongly, or the token is not good for it.
    USAGE = 2
    #: The limit passed first.
    TIMED_OUT = 3
    #: Ctrl-C: 128 and the number of SIGINT, as shells have it.
    INTERRUPTED = 130
    #: Whoever read the output has closed it: 128 and the number of SIGPIPE.
    PIPE_CLOSED = 141


class CommandError(Exception):
    """Raised when a command cannot do what it was asked to; its text is what the user is told.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, *, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def run(screen: Screen, action: Callable[[], Exit], *, interrupted: str) -> Exit:
    """Run a command, and turn whatever ends it into an exit code and at most one line on stderr.

    Args:
        screen: Where to tell.
        action: The command.
        interrupted: What to say after Ctrl-C.

    Returns:
        The exit code.
    """
    try:
        return action()
    except KeyboardInterrupt:
        screen.note(interrupted)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return Exit.PIPE_CLOSED
    except CommandError as error:
        screen.fail(str(error))
        return error.code
    except AceTasksError as error:
        screen.fail(str(error))
        return Exit.USAGE if isinstance(error, FINAL_ERRORS) else Exit.FAILED


def _discard_stdout() -> None:
    """Let what is still to be flushed go nowhere: the interpreter would complain of the closed pipe as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except OSError:
        # A stdout that is no file has nothing to flush.
        pass
    finally:
        os.close(nowhere)
