"""For tests: a simulated service and a virtual clock, on which a ten-minute wait takes milliseconds.

    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        task_id = server.add("luma", after=600)
        task = await client.wait("luma", task_id)

`server.fail("luma", status=429, headers={"Retry-After": "7"})` scripts what goes wrong: see `AceServer.fail`.

With `pytest_plugins = ["acetasks.testing.pytest_plugin"]` in `conftest.py`, all async tests run on the virtual clock.
"""

from acetasks.testing.clock import VirtualClockDeadlockError, VirtualClockLoop, run
from acetasks.testing.courier import RecordedCallback
from acetasks.testing.faults import Fault
from acetasks.testing.reception import RecordedRequest
from acetasks.testing.script import Outcome, ScriptedTask
from acetasks.testing.server import AceServer

__all__ = [
    "AceServer",
    "Fault",
    "Outcome",
    "RecordedCallback",
    "RecordedRequest",
    "ScriptedTask",
    "VirtualClockDeadlockError",
    "VirtualClockLoop",
    "run",
]
