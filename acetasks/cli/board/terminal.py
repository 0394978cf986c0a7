"""The terminal while the board is on it: keys one by one, Ctrl-Z and `fg`, and its modes restored on every way out.

Ctrl-C and SIGTERM need nothing here: they end the command by an exception, and the context exits. On systems without
POSIX terminals there are no keys, and Ctrl-C works.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import IO, TYPE_CHECKING, Self

try:
    import termios
    import tty
except ImportError:  # pragma: no cover  # Windows
    HAS_MODES = False
else:
    HAS_MODES = True

if TYPE_CHECKING:
    from collections.abc import Callable

#: The most bytes of keys that are read at once: more than a person types, and a pasted text is no command.
_READ_SIZE = 1024


class TerminalControl:
    """Context in which a terminal passes on keys, and in which the process can be stopped and continued.

    Args:
        stream: The terminal; keys are read from it too.
        enter: Begins to draw; called at the start, and again when a stopped process continues.
        leave: Ends drawing and leaves the terminal as it was; called before the process stops, and at the end.
        on_keys: Receives keys as the terminal sends them; None if keys are left to the shell.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        enter: Callable[[], object],
        leave: Callable[[], object],
        on_keys: Callable[[bytes], object] | None,
    ) -> None:
        self._enter_display, self._leave_display, self._on_keys = enter, leave, on_keys
        self._descriptor = _find_descriptor(stream) if HAS_MODES else None
        self._modes: list[object] | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        try:
            self._enter()
            self._handle_signals()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for number in self._signals:
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
        self._leave()

    @property
    def _signals(self) -> tuple[signal.Signals, ...]:
        return (signal.SIGTSTP, signal.SIGCONT) if self._descriptor is not None else ()

    def _handle_signals(self) -> None:
        # Another thread than the main one, or a loop without signals, leaves the default: Ctrl-Z stops the process.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in self._signals:
                self._loop.add_signal_handler(number, self._suspend if number == signal.SIGTSTP else self._redraw)

    def _enter(self) -> None:
        """Change the modes, then draw: a process in the background is stopped by the first, before it draws."""
        if self._descriptor is not None and self._on_keys is not None:
            with contextlib.suppress(termios.error, OSError):
                self._modes = termios.tcgetattr(self._descriptor)
                tty.setcbreak(self._descriptor, termios.TCSADRAIN)
                self._loop.add_reader(self._descriptor, self._read_keys, self._descriptor)
        self._enter_display()

    def _leave(self) -> None:
        """End drawing, and restore the modes whatever happens."""
        try:
            self._leave_display()
        finally:
            if self._modes is not None and self._descriptor is not None:
                self._loop.remove_reader(self._descriptor)
                # A terminal that is gone has no modes.
                with contextlib.suppress(termios.error, OSError):
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)  # type: ignore[arg-type]  # as read
                self._modes = None

    def _read_keys(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_SIZE)
        except OSError:
            data = b""
        if not data:  # the terminal is gone, and would be readable for ever
            self._loop.remove_reader(descriptor)
        elif self._on_keys is not None:
            self._on_keys(data)

    def _suspend(self) -> None:
        """Stop the process as Ctrl-Z does, and continue when the shell says so."""
        self._leave()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        self._handle_signals()
        self._enter()

    def _redraw(self) -> None:
        """Set the modes and draw again after a stop that was not announced (SIGSTOP)."""
        self._leave()
        self._enter()


def _find_descriptor(stream: IO[str]) -> int | None:
    """Return the descriptor of a terminal, or None if the stream is none."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return None
    return descriptor if os.isatty(descriptor) else None
