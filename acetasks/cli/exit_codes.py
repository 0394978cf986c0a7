"""Exit codes of the commands, and the error that carries one."""

from __future__ import annotations

import enum

from acetasks import AuthenticationError, PermissionDeniedError, UnknownProviderError

#: Errors that apply to every id of a command: they end it as a usage error.
FATAL_ERRORS = (AuthenticationError, PermissionDeniedError, UnknownProviderError)


class ExitCode(enum.IntEnum):
    """Exit codes. If several of 0, 1, 3 and 4 apply, the largest is used; each of the others ends the command."""

    #: Every task succeeded; for `get`, no task failed.
    OK = 0
    #: A task failed, succeeded only in part, was not found or could not be polled, or a file was not downloaded.
    FAILED = 1
    #: Wrong arguments, or a token that is missing, invalid or lacks permission.
    USAGE = 2
    #: The timeout passed before every task ended.
    TIMED_OUT = 3
    #: A submission may or may not have been accepted and paid for: it must not be repeated blindly.
    UNCERTAIN = 4
    #: The results cannot be written, as on a full disk.
    OUTPUT = 5
    #: Ctrl-C: 128 plus the number of SIGINT, by the convention of shells.
    INTERRUPTED = 130
    #: The reader of stdout closed the pipe: 128 plus the number of SIGPIPE.
    PIPE_CLOSED = 141
    #: SIGTERM, as from `timeout` or a stopped container: 128 plus its number.
    TERMINATED = 143


class CommandError(Exception):
    """Raised when a command cannot run; its text is printed for the user.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, *, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code
