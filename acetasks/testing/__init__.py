"""Test support: a simulated service and a virtual clock, on which a ten-minute wait takes milliseconds.

    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        task_id = server.add("luma", after=600)
        task = await client.wait("luma", task_id)

`server.fail("luma", status=429, headers={"Retry-After": "7"})` scripts a fault; `Fault` describes the options.

The pytest plugin `pytest_acetasks` has fixtures of both, and a marker for virtual time. Times are loop times: seconds
of the event loop's clock.
"""

from acetasks.testing.callbacks import RecordedCallback
from acetasks.testing.clock import VirtualClockLoop, run
from acetasks.testing.clock_errors import (
    StuckTask,
    VirtualClockAddressError,
    VirtualClockDeadlockError,
    VirtualClockError,
)
from acetasks.testing.faults import Fault, RecordedRequest
from acetasks.testing.outside import VirtualClockWarning
from acetasks.testing.rules import Outcome, Rule
from acetasks.testing.scenario import ScriptedTask
from acetasks.testing.server import AceServer

__all__ = [
    "AceServer",
    "Fault",
    "Outcome",
    "RecordedCallback",
    "RecordedRequest",
    "Rule",
    "ScriptedTask",
    "StuckTask",
    "VirtualClockAddressError",
    "VirtualClockDeadlockError",
    "VirtualClockError",
    "VirtualClockLoop",
    "VirtualClockWarning",
    "run",
]
