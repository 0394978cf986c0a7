"""Submissions of a client, from the call to the service and back; transports alone are in `test_session`."""

from __future__ import annotations

import pytest
from aiohttp import web
from http_support import TOKEN

import acetasks


async def test_time_of_an_uncertain_submission_is_wall_time(listen, monkeypatch):
    """It can be compared with the times of tasks, which are in seconds since the epoch too."""
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.25)
    async with acetasks.Client(TOKEN, base_url=await listen(b"")) as client:
        with pytest.raises(acetasks.SubmissionUncertainError) as caught:
            await client.submit("luma", {"prompt": "a cat"})
    assert caught.value.sent_at == 1_767_225_600.25


class TestHeaders:
    """Headers of the caller's."""

    async def test_submissions_have_the_headers_and_polls_have_not(self, serve):
        """`submit` and `run` send them beside the client's own."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append((request.path, request.headers.get("model"), request.headers["authorization"]))
            return web.json_response(
                {"task_id": "t", "id": "t", "response": {"success": True, "data": [{"audio_url": "u"}]}}
            )

        headers, own = {"model": "s2-pro", "Idempotency-Key": "17"}, f"Bearer {TOKEN}"
        async with acetasks.Client(TOKEN, base_url=await serve(handler)) as client:
            await client.submit("fish", {"text": "hello"}, path="/fish/tts", headers=headers)
            await client.run("fish", {"text": "hello"}, path="/fish/tts", headers=headers)
            await client.wait("fish", "t")
            with pytest.raises(ValueError, match="'Authorization' is set by the client"):
                await client.submit("fish", {}, headers={"Authorization": "Bearer other"})
        assert seen[:2] == [("/fish/tts", "s2-pro", own)] * 2
        assert set(seen[2:]) == {("/fish/tasks", None, own)}
