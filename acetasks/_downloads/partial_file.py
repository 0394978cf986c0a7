"""A file that has its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import IO, TYPE_CHECKING

import anyio.to_thread

from acetasks._runtime import read_wall_clock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_SUFFIX = ".part"
#: Seconds since its last change after which a partial file is one that an ended process has left.
_ABANDONED_AFTER = 24 * 3600.0


class PartialFile:
    """A temporary file beside its target; removed at the end of the block unless it was completed.

    Content is written in threads, so that a slow disk does not block the event loop. Concurrent downloads of one
    target have a file each, and the last one to complete stays.

    Attributes:
        size: Bytes written.
    """

    def __init__(self, directory: Path, stem: str) -> None:
        self._directory = directory
        self._stem = stem
        self._path = directory / f".{stem}.{secrets.token_hex(4)}{_SUFFIX}"
        self._file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> Self:
        """Create the directory and the file; raises `OSError`."""
        # Not in a thread, here and at the end, so that a cancellation cannot leave the file behind.
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        self._file = self._path.open("xb")
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # unwritten content does not matter any more
            self._opened.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append bytes; raises `OSError`."""
        await anyio.to_thread.run_sync(self._opened.write, data)
        self.size += len(data)

    async def restart(self) -> None:
        """Remove all content."""
        self.size = 0
        await anyio.to_thread.run_sync(self._truncate)

    async def complete(self, target: Path) -> None:
        """Flush the content to disk and give the file its name, which replaces another one; raises `OSError`."""
        await anyio.to_thread.run_sync(self._complete, target)

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise ValueError("the partial file is not open")
        return self._file

    def _remove_abandoned(self) -> None:
        for path in self._directory.glob(f".{self._stem}.*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < read_wall_clock() - _ABANDONED_AFTER:
                    path.unlink()

    def _truncate(self) -> None:
        self._opened.seek(0)
        self._opened.truncate()

    def _complete(self, target: Path) -> None:
        self._opened.flush()
        os.fsync(self._opened.fileno())
        self._opened.close()
        self._path.replace(target)
