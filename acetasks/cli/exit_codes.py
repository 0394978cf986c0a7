"""Exit codes of the commands, and the error that carries one."""

from __future__ import annotations

import enum

from acetasks import AuthenticationError, PermissionDeniedError, UnknownProviderError

#: Errors that apply to every id of a command: they end it as a usage error.
FATAL_ERRORS = (AuthenticationError, PermissionDeniedError, UnknownProviderError)


class ExitCode(enum.IntEnum):
    """Exit codes. If several of 0, 1 and 3 apply, the largest is used; each of the others ends the command."""

    #: Every task succeeded; for `get`, no task failed.
    OK = 0
    #: A task failed, succeeded only in part, was not found or could not be polled.
    FAILED = 1
    #: Wrong arguments, or a token that is missing, invalid or lacks permission.
    USAGE = 2
    #: The timeout passed before every task ended.
    TIMED_OUT = 3
    #: Ctrl-C: 128 plus the number of SIGINT, by the convention of shells.
    INTERRUPTED = 130
    #: The reader of stdout closed the pipe: 128 plus the number of SIGPIPE.
    PIPE_CLOSED = 141


class CommandError(Exception):
    """Raised when a command cannot run; its text is printed for the user.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, *, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code
