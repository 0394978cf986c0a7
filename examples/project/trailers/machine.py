"""The rest of the application, which has nothing to do with generated videos."""

import asyncio
import sys


async def python_version() -> str:
    """Return the version of Python, from a child process."""
    process = await asyncio.create_subprocess_exec(sys.executable, "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return output.decode().split()[1]


async def fetch_greeting(port: int) -> str:
    """Return what a server on this machine says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await asyncio.wait_for(reader.readline(), 20)).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()
