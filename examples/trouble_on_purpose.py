"""Test how your code handles faults: the simulated service fails, hangs and limits the rate."""

import asyncio

import acetasks
from acetasks.testing import AceServer, run


async def main() -> None:
    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        ids = [server.add("luma", after=150 + number) for number in range(100)]
        server.fail("luma", status=500, rate=0.2)
        server.fail(status=429, headers={"Retry-After": "30"}, when=lambda request: request.time > 60)
        outage = server.fail("luma", hang=40, times=3)

        tasks = await client.wait_all("luma", ids)
        assert all(task.state is acetasks.TaskState.SUCCEEDED for task in tasks)
        print(f"{len(tasks)} tasks after {asyncio.get_running_loop().time():.0f} s, {server.request_count} requests")
        print(f"{outage!r}")

        lost = server.fail("veo", reset=True)
        try:
            await client.submit("veo", {"prompt": "a lighthouse"})
        except acetasks.SubmissionUncertainError as error:
            print(f"{error} ({lost.hits} response lost, {server.submissions} task created)")


run(main())
