"""A PostgreSQL server of a run's own, which may be killed."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncpg

if TYPE_CHECKING:
    from types import TracebackType

#: Where Debian has the programs of the server, which are not on its PATH.
_DEBIAN = Path("/usr/lib/postgresql")
#: Seconds for the server to start.
_PATIENCE = 60.0


def find_program(name: str) -> str | None:
    """Return the path of a program of the server, or None if there is none."""
    newest = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(newest[-1]) if newest else None)


class PrivatePostgres:
    """A server on a free port of this machine, with an empty database `postgres`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._process: asyncio.subprocess.Process | None = None
        # The server refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._port = listening.getsockname()[1]

    @property
    def url(self) -> str:
        """URL of its database."""
        return f"postgresql://{self._user}@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        """Process id of the server, whose children serve connections."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        shutil.chown(self._directory.name, self._user)
        data = f"{self._directory.name}/data"
        initdb = await self._execute("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", f"--pgdata={data}")
        if await initdb.wait() != 0:
            sys.exit("initdb has failed")
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(signal.SIGQUIT)
        self._directory.cleanup()

    async def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                if self._process is None or self._process.returncode is not None:
                    # After `kill -9` it does not start until the processes of the killed one have ended.
                    self._process = await self._execute("postgres", *self._options())
                try:
                    await (await asyncpg.connect(self.url, timeout=1)).close()
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.2)
                else:
                    return

    async def stop(self, number: int) -> None:
        """End it with a signal: SIGINT cuts the connections and writes a checkpoint, SIGKILL does nothing else."""
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.wait()

    def _options(self) -> list[str]:
        # What a killed process has written is not lost, unlike at a power cut; the disk of a busy machine is slow.
        settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._directory.name}")
        options = ["-D", f"{self._directory.name}/data", "-p", str(self._port)]
        return [*options, *(part for setting in settings for part in ("-c", setting))]

    async def _execute(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        program = find_program(name)
        if program is None:
            sys.exit(f"{name} is not installed")
        return await asyncio.create_subprocess_exec(
            program,
            *arguments,
            user=self._user if os.getuid() == 0 else None,
            cwd=self._directory.name,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
