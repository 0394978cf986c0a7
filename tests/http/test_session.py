"""HTTPTransport: requests with tokens, retries, events and closing; faults of connections are in `test_backend`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import random
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from http_support import (
    FIRST_DELAY,
    KEY,
    NEW_TOKEN,
    POLL,
    READERS,
    REFUSED,
    SUBMISSION,
    SUBMIT_URL,
    TOKEN,
    URL,
    PatchedResponse,
    TokenGate,
    TokenSequence,
    describe,
    expose,
    keep,
    reply,
    wall_time,
)
from support import now

import acetasks
from acetasks._http.auth import Secret
from acetasks._http.requests import build_poll
from acetasks.providers import Service, lookup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acetasks._http.requests import Request, Response


class TestSending:
    """Requests and responses."""

    async def test_sends_the_documented_request(self, new_transport, serve):
        """Method, path, query, body and headers are the documented ones, with this library's version."""
        seen = []

        async def handler(request: web.Request) -> web.Response:
            seen.append((request.method, request.path_qs, request.headers.copy(), await request.read()))
            return web.json_response({})

        transport = new_transport(f"{await serve(handler)}/prefix/")
        await transport.send(POLL, keep)
        await transport.send(build_poll(lookup("useapi-pixverse"), ["a b&c"]), keep)
        (method, path, headers, body), (get, query, _, empty) = seen
        assert (method, path, body) == ("POST", "/prefix/luma/tasks", b'{"id":"t","action":"retrieve"}')
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["accept"] == headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith(f"acetasks/{acetasks.__version__} ")
        assert (get, query, empty) == ("GET", "/prefix/v1/pixverse/jobs/?jobid=a+b%26c", b"")

    async def test_returns_the_result_of_the_reader(self, new_transport, serve):
        """The reader gets status, headers and the whole body."""
        responses = []

        async def handler(_: web.Request) -> web.Response:
            return web.json_response({"id": "t"}, headers={"Retry-After": "7", "Date": "today", "X-Other": "x"})

        def read(response: Response) -> str:
            responses.append(response)
            return "read"

        assert await new_transport(await serve(handler)).send(POLL, read) == "read"
        (response,) = responses
        assert (response.status, response.body) == (200, b'{"id": "t"}')
        assert (response.headers["retry-after"], response.headers["date"]) == ("7", "today")

    async def test_emits_events_for_every_attempt(self, new_transport, events, http):
        """Each attempt has an event when it is sent and one for its outcome."""
        http.post(URL, status=500, response_class=PatchedResponse)
        http.post(URL, payload={}, response_class=PatchedResponse)
        await new_transport().send(POLL, keep, attempts=2)
        sent, failed, again, answered = events
        assert sent == acetasks.RequestSent(time=0.0, provider="luma", ids=1)
        assert (failed.time, type(failed.error)) == (0.0, acetasks.ServiceError)
        assert again == acetasks.RequestSent(time=FIRST_DELAY, provider="luma", ids=1)
        assert answered == acetasks.RequestAnswered(time=FIRST_DELAY, provider="luma", ids=1, status=200, seconds=0.0)

    async def test_emits_only_failures_without_observers(self, new_transport, events, http):
        """Without observers only failures are emitted, for the log."""
        http.post(URL, status=500, response_class=PatchedResponse)
        http.post(URL, body="<html>", response_class=PatchedResponse)
        http.post(URL, payload={}, response_class=PatchedResponse)
        events.has_own = False
        transport = new_transport()
        with pytest.raises(acetasks.ServiceError):
            await transport.send(POLL, keep)
        with pytest.raises(acetasks.ProtocolError):
            await transport.send(POLL, READERS[POLL.path])
        assert (await transport.send(POLL, keep)).status == 200
        failed, unreadable = events
        assert (failed.ids, type(failed), type(failed.error)) == (1, acetasks.RequestFailed, acetasks.ServiceError)
        assert (unreadable.ids, type(unreadable), type(unreadable.error)) == (
            1,
            acetasks.RequestFailed,
            acetasks.ProtocolError,
        )

    async def test_measures_from_sending_to_the_last_byte(self, new_transport, events, serve):
        """The duration does not include the wait for a slot."""
        transport = new_transport(await serve(TokenGate(TOKEN, seconds=2.5)))
        await transport.send(SUBMISSION, keep, acquire_slot=functools.partial(asyncio.sleep, 4))
        sent, answered = events
        assert (sent.time, answered.time, answered.seconds, answered.ids) == (4.0, 6.5, 2.5, 0)

    async def test_does_not_follow_redirects(self, new_transport, serve):
        """A redirect is an error, so the token is not sent elsewhere."""
        paths = []

        async def handler(request: web.Request) -> web.Response:
            paths.append(request.path)
            raise web.HTTPFound("/elsewhere")

        with pytest.raises(acetasks.BadRequestError, match="redirects are not followed"):
            await new_transport(await serve(handler)).send(POLL, keep)
        assert paths == ["/luma/tasks"]

    async def test_first_response_of_a_cache_is_logged(self, new_transport, http, caplog):
        """A stored response has an age; one that was made for the request has none, or 0."""
        for age in (None, "0", "00", "x\n", "-1", "", "37", "41"):
            http.post(URL, payload={"id": "t"}, headers={"Age": age} if age else {}, response_class=PatchedResponse)
        transport = new_transport()
        for _ in range(6):
            await transport.send(POLL, keep)
        assert caplog.messages == []
        for _ in range(2):
            await transport.send(POLL, keep)
        (message,) = caplog.messages
        assert message.startswith("luma: a response is 37 s old, it is from a cache on the way: ")

    async def test_sends_nothing_without_token(self, new_transport, events):
        """A missing token is an error before anything is sent."""
        transport = new_transport(token=None)
        with pytest.raises(acetasks.AuthenticationError, match="set ACEDATACLOUD_API_TOKEN"):
            transport.check(Service.ACEDATA)
        with pytest.raises(acetasks.AuthenticationError, match="set ACEDATACLOUD_API_TOKEN"):
            await transport.send(POLL, keep, attempts=3)
        assert events == []

    async def test_acquires_a_slot_for_each_attempt(self, new_transport, events, http):
        """Each attempt waits for its own slot."""
        http.post(URL, status=500, repeat=True, response_class=PatchedResponse)
        called_at = []

        async def acquire_slot() -> None:
            called_at.append(now())
            await asyncio.sleep(10)

        with pytest.raises(acetasks.ServiceError):
            await new_transport(base=0).send(POLL, keep, acquire_slot=acquire_slot, attempts=3)
        assert called_at == [0.0, 10.0, 20.0]
        assert events.sent_at() == [10.0, 20.0, 30.0]

    async def test_sends_nothing_without_slot(self, new_transport, events):
        """If no slot is available for good, no request is sent."""

        async def acquire_slot() -> None:
            raise acetasks.RateLimitError("not today")

        provider = TokenSequence(TOKEN)
        with pytest.raises(acetasks.RateLimitError, match="not today"):
            await new_transport(token=provider).send(POLL, keep, acquire_slot=acquire_slot, attempts=3)
        assert events == []

    async def test_repr_has_the_base_urls(self, new_transport):
        """The repr has the base URLs and no token."""
        assert repr(new_transport()) == "<HTTPTransport https://api.example, https://api.example>"


class TestRetryingPolls:
    """Which polls are retried, and when."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500, "payload": {"error": {"code": "api_error", "message": "x"}}},
            {"status": 503, "body": "<html>"},
            {"status": 200, "body": "<html>"},
            {"status": 200, "body": ""},
            {"exception": aiohttp.ServerDisconnectedError()},
            {"exception": ConnectionResetError()},
            {"exception": aiohttp.ClientPayloadError("cut")},
            REFUSED,
            {"exception": aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such host"))},
            {"exception": TimeoutError()},
            {"exception": aiohttp.ConnectionTimeoutError()},
        ],
        ids=describe,
    )
    async def test_poll_is_retried_after_a_transient_error(self, new_transport, events, http, fault):
        """After a delay with full jitter the poll is sent again and its response is read."""
        http.post(URL, **fault, response_class=PatchedResponse)
        http.post(URL, payload={"id": "t"}, response_class=PatchedResponse)
        result = await new_transport(base=1, cap=16).send(POLL, READERS[POLL.path], attempts=2)
        assert list(result.statuses) == ["t"]
        assert now() == FIRST_DELAY
        assert events.names() == ["RequestSent", "RequestFailed", "RequestSent", "RequestAnswered"]

    async def test_poll_is_sent_once_by_default(self, new_transport, events, http):
        """The poller schedules its own polls again."""
        http.post(URL, status=500, repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.ServiceError):
            await new_transport(attempts=6).send(POLL, keep)
        assert events.names() == ["RequestSent", "RequestFailed"]
        assert now() == 0

    async def test_raises_the_last_error_after_all_attempts(self, new_transport, events, http):
        """The delays double up to the cap."""
        http.post(URL, status=500, repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.ServiceError):
            await new_transport(base=1, cap=4).send(POLL, keep, attempts=6)
        rng = random.Random(0)
        delays = [bound * rng.random() for bound in (1, 2, 4, 4, 4)]
        assert events.sent_at() == pytest.approx([0, *itertools.accumulate(delays)])

    @pytest.mark.parametrize(
        ("status", "headers"), [(429, {}), (503, {"Retry-After": "7"}), (400, {}), (401, {}), (403, {})]
    )
    async def test_pauses_and_final_errors_are_not_retried(self, new_transport, events, http, status, headers):
        """A rate limit, a requested pause and a final error are raised at once."""
        error = {"error": {"message": "no"}}
        http.post(URL, status=status, headers=headers, payload=error, repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.APIError) as caught:
            await new_transport().send(POLL, keep, attempts=4)
        assert now() == 0
        assert events.names() == ["RequestSent", "RequestFailed"]
        assert caught.value.status == status
        assert caught.value.retry_after == (7 if headers else None)

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
    async def test_errors_of_a_gateway_are_retried(self, new_transport, http, status):
        """They may pass; the last one is raised as it is."""
        http.post(URL, status=status, body="<html>", repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.APIError) as caught:
            await new_transport().send(POLL, keep, attempts=4)
        assert sum(map(len, http.requests.values())) == 4
        assert (caught.value.status, caught.value.transient) == (status, True)

    @pytest.mark.parametrize("body", ["[]", '{"id":"t","progress":1e999}'])
    async def test_complete_unreadable_response_is_not_retried(self, new_transport, events, http, body):
        """It would be the same again, and it is a failed attempt."""
        http.post(URL, body=body, repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.ProtocolError) as caught:
            await new_transport().send(POLL, READERS[POLL.path], attempts=4)
        sent, failed = events
        assert (sent.time, failed.error) == (0.0, caught.value)

    async def test_error_page_with_status_200_is_a_failed_attempt(self, new_transport, events, http):
        """A gateway's page is not an answered request."""
        http.post(URL, body="<html>Be right back</html>", repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.ProtocolError, match="Be right back"):
            await new_transport().send(POLL, READERS[POLL.path], attempts=3)
        assert events.names() == ["RequestSent", "RequestFailed"] * 3

    async def test_retry_after_date_is_relative_to_the_response(self, new_transport, listen):
        """Without a `Date` header it is relative to the machine's clock."""
        assert wall_time() == 1_767_225_600.0  # 2026-01-01, at midnight
        until, date = b"retry-after: Thu, 01 Jan 2026 00:01:30 GMT", b"date: Thu, 01 Jan 2026 00:01:00 GMT"
        busy = functools.partial(reply, b"", b"content-length: 0", until, status=b"503 Busy")
        transport = new_transport(await listen(busy(), busy(date)))
        delays = []
        for _ in range(2):
            with pytest.raises(acetasks.ServiceError) as caught:
                await transport.send(POLL, keep, attempts=3)
            delays.append(caught.value.retry_after)
        assert delays == [90.0, 30.0]

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("headers", "pause"),
        [
            ({"Retry-After": "86400"}, 300),
            ({"Retry-After": "9999999999"}, 300),
            ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 300),
            ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 300),
            ({"Retry-After": "301"}, 300),
            ({"Retry-After": "299"}, 299),
            ({"Retry-After": "0"}, 0),
        ],
    )
    async def test_retry_after_has_a_maximum(self, new_transport, http, status, headers, pause):
        """A longer pause, in seconds or as a date, is cut to the maximum of the policy in the error itself."""
        http.post(URL, status=status, headers=headers, repeat=True, response_class=PatchedResponse)
        for policy, seconds in ({}, pause), ({"max_retry_after": 20}, min(pause, 20)), ({"max_retry_after": 0}, 0):
            with pytest.raises(acetasks.APIError) as caught:
                await new_transport(**policy).send(POLL, keep)
            assert caught.value.retry_after == seconds

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("maximum", [300, 60])
    async def test_absurd_retry_after_does_not_stop_polling(self, server, new_client, status, maximum):
        """After one such response every provider's tasks end within the maximum, a `retrieve` included."""
        server.fail("luma", status=status, headers={"Retry-After": "9999999999"})
        async with new_client(retry=acetasks.RetryPolicy(max_retry_after=maximum)) as client:
            waits = [client.wait(provider, server.add(provider, after=20)) for provider in ("luma", "flux")]
            waiting = asyncio.gather(*waits)
            await asyncio.sleep(1)
            await client.retrieve("luma", server.add("luma", after=0))
            assert maximum <= now() < maximum + 5
            await waiting
        assert maximum <= now() < maximum + 25


class TestSubmissions:
    """Submissions are never billed twice."""

    @pytest.mark.parametrize(
        "fault",
        [
            REFUSED,
            {"exception": aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such host"))},
            {"exception": aiohttp.ConnectionTimeoutError()},
        ],
        ids=describe,
    )
    async def test_is_retried_if_it_surely_did_not_arrive(self, new_transport, http, fault):
        """Without a connection nothing was sent, so it is retried, whatever `attempts` is."""
        http.post(SUBMIT_URL, **fault)
        http.post(SUBMIT_URL, payload={"task_id": "t"}, response_class=PatchedResponse)
        task = await new_transport().send(SUBMISSION, READERS[SUBMISSION.path], attempts=1)
        assert (task.id, now()) == ("t", FIRST_DELAY)

    async def test_fails_after_the_attempts_of_the_policy(self, new_transport, events, http):
        """If the service is unreachable every time, nothing is uncertain."""
        http.post(SUBMIT_URL, **REFUSED, repeat=True)
        with pytest.raises(acetasks.TransportError, match="could not be sent") as caught:
            await new_transport(attempts=3).send(SUBMISSION, keep)
        assert not caught.value.reached
        assert events.names() == ["RequestSent", "RequestFailed"] * 3

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"exception": aiohttp.ServerDisconnectedError()}, acetasks.TransportError),
            ({"exception": ConnectionResetError()}, acetasks.TransportError),
            ({"exception": TimeoutError()}, acetasks.TransportError),
            ({"exception": aiohttp.ClientPayloadError("cut")}, acetasks.TransportError),
            ({"status": 502, "body": "<html>"}, acetasks.ServiceError),
            ({"status": 408}, acetasks.ServiceError),
            ({"status": 504, "payload": {"error": {"code": "timeout", "message": "x"}}}, acetasks.ServiceError),
            ({"body": "<html>"}, acetasks.ProtocolError),
            ({"body": "{}"}, acetasks.ProtocolError),
            ({"body": "[]"}, acetasks.ProtocolError),
            ({"body": '{"task_id":"t","progress":1e999}'}, acetasks.ProtocolError),
        ],
        ids=str,
    )
    async def test_is_sent_once_if_it_may_have_arrived(self, new_transport, events, http, fault, kind):
        """The error has the request and the time of sending."""
        http.post(SUBMIT_URL, repeat=True, **fault, response_class=PatchedResponse)
        await asyncio.sleep(5)
        with pytest.raises(acetasks.SubmissionUncertainError, match="paid for twice") as caught:
            await new_transport().send(SUBMISSION, READERS[SUBMISSION.path])
        error = caught.value
        assert (error.provider, error.path, error.payload, error.sent_at) == (
            "luma",
            "/luma/videos",
            b'{"prompt":"a cat","async":true}',
            wall_time(5.0),
        )
        sent, failed = events
        assert type(error.__cause__) is kind
        assert (sent.time, failed.error) == (5.0, error.__cause__)
        assert str(error.__cause__) in str(error)

    @pytest.mark.parametrize("fault", [{"exception": TimeoutError()}, {"body": "<html>"}], ids=describe)
    async def test_uncertain_error_is_about_the_uncertain_attempt(self, new_transport, events, http, fault):
        """The time of sending is not of an earlier attempt that surely failed."""
        http.post(SUBMIT_URL, **REFUSED)
        http.post(SUBMIT_URL, **REFUSED)
        http.post(SUBMIT_URL, **fault, response_class=PatchedResponse)
        with pytest.raises(acetasks.SubmissionUncertainError) as caught:
            await new_transport().send(SUBMISSION, READERS[SUBMISSION.path])
        assert caught.value.sent_at == wall_time()
        assert now() == events.sent_at()[-1] > FIRST_DELAY
        assert len(events.sent_at()) == 3

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (500, "api_error", acetasks.ServiceError),
            (403, "used_up", acetasks.PermissionDeniedError),
            (401, "invalid_token", acetasks.AuthenticationError),
            (400, "bad_request", acetasks.BadRequestError),
        ],
    )
    async def test_rejection_is_not_retried(self, new_transport, events, http, status, code, kind):  # noqa: PLR0917  # one argument for each column
        """An error of the service is raised unchanged, after one attempt."""
        http.post(
            SUBMIT_URL, status=status, payload={"error": {"code": code}}, repeat=True, response_class=PatchedResponse
        )
        with pytest.raises(kind) as caught:
            await new_transport().send(SUBMISSION, READERS[SUBMISSION.path])
        assert type(caught.value) is kind
        assert events.names() == ["RequestSent", "RequestFailed"]

    @pytest.mark.parametrize("status", [429, 400, 500])
    async def test_refusal_for_too_many_requests_is_retried(self, new_transport, events, http, status):
        """The service has accepted nothing, whatever status is before the code; the delay is a backoff."""
        http.post(
            SUBMIT_URL,
            status=status,
            payload={"error": {"code": "too_many_requests"}},
            response_class=PatchedResponse,
        )
        http.post(SUBMIT_URL, payload={"task_id": "t"}, response_class=PatchedResponse)
        task = await new_transport().send(SUBMISSION, READERS[SUBMISSION.path])
        assert (task.id, events.sent_at()) == ("t", [0.0, FIRST_DELAY])

    @pytest.mark.parametrize(("pause", "delay"), [("7", 7.0), ("9999", 300.0)])
    async def test_retry_after_is_waited_out(self, new_transport, events, http, pause, delay):
        """Up to the maximum of the policy, before each further attempt."""
        for _ in range(2):
            http.post(SUBMIT_URL, status=429, headers={"Retry-After": pause}, response_class=PatchedResponse)
        http.post(SUBMIT_URL, payload={"task_id": "t"}, response_class=PatchedResponse)
        await new_transport().send(SUBMISSION, READERS[SUBMISSION.path])
        assert events.sent_at() == [0.0, delay, 2 * delay]

    async def test_refusals_end_with_the_attempts_of_the_policy(self, new_transport, events, http):
        """The last error is the service's."""
        http.post(SUBMIT_URL, status=429, repeat=True, response_class=PatchedResponse)
        with pytest.raises(acetasks.RateLimitError) as caught:
            await new_transport(attempts=3).send(SUBMISSION, keep)
        assert caught.value.status == 429
        assert events.names() == ["RequestSent", "RequestFailed"] * 3


@pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
class TestRenewal:
    """Refused tokens, for polls and submissions alike."""

    async def test_refused_request_is_sent_with_a_new_token(self, new_transport, events, serve, request_: Request):
        """The new token is used at once, and for all later requests."""
        gate, provider = TokenGate(NEW_TOKEN), TokenSequence(TOKEN, NEW_TOKEN)
        transport = new_transport(await serve(gate), token=provider)
        await transport.send(request_, READERS[request_.path])
        assert gate.seen == [TOKEN, NEW_TOKEN]
        assert events.names() == ["RequestSent", "RequestFailed", "RequestSent", "RequestAnswered"]
        assert type(events[1].error) is acetasks.AuthenticationError
        await transport.send(POLL, READERS[POLL.path])
        await transport.send(SUBMISSION, READERS[SUBMISSION.path])
        assert gate.seen == [TOKEN, *[NEW_TOKEN] * 3]
        assert len(provider.calls) == 2
        assert now() == 0

    async def test_token_is_renewed_once_for_concurrent_requests(self, new_transport, serve, request_: Request):
        """Twenty refused requests take one provider call, and each is sent once more."""
        gate, provider = TokenGate(NEW_TOKEN, seconds=1), TokenSequence(TOKEN, NEW_TOKEN, "never-given", seconds=2)
        transport = new_transport(await serve(gate), token=provider)
        await asyncio.gather(*(transport.send(request_, READERS[request_.path]) for _ in range(20)))
        assert gate.seen == [TOKEN] * 20 + [NEW_TOKEN] * 20
        assert provider.calls == [0.0, 3.0]
        assert now() == 6.0

    async def test_same_token_again_is_final(self, new_transport, serve, request_: Request):
        """If the provider returns the refused token, the error is raised and nothing is sent twice."""
        gate, provider = TokenGate(seconds=1), TokenSequence(TOKEN, seconds=2)
        transport = new_transport(await serve(gate), token=provider)
        sends = (transport.send(request_, READERS[request_.path], attempts=5) for _ in range(10))
        errors = await asyncio.gather(*sends, return_exceptions=True)
        assert {(type(error), error.status, error.code) for error in errors} == {
            (acetasks.AuthenticationError, 401, "invalid_token")
        }
        assert gate.seen == [TOKEN] * 10
        assert provider.calls == [0.0, 3.0]

    async def test_later_request_calls_the_provider_again(self, new_transport, serve, request_: Request):
        """The next request calls a provider that had no new token before, and uses its new one."""
        gate, provider = TokenGate(NEW_TOKEN), TokenSequence(TOKEN, TOKEN, NEW_TOKEN)
        transport = new_transport(await serve(gate), token=provider)
        with pytest.raises(acetasks.AuthenticationError):
            await transport.send(request_, keep)
        await asyncio.sleep(60)
        await transport.send(request_, keep)
        assert gate.seen == [TOKEN, NEW_TOKEN]
        assert provider.calls == [0.0, 0.0, 60.0]

    async def test_token_is_renewed_once_per_request(self, new_transport, serve, request_: Request):
        """A new token that is refused too is final, however many more the provider has."""
        gate, provider = TokenGate(), TokenSequence("one", "two", "three")
        with pytest.raises(acetasks.AuthenticationError):
            await new_transport(await serve(gate), token=provider).send(request_, keep, attempts=5)
        assert gate.seen == ["one", "two"]

    async def test_fixed_token_is_not_renewed(self, new_transport, serve, request_: Request):
        """Without a provider a refusal is final at once."""
        gate = TokenGate()
        with pytest.raises(acetasks.AuthenticationError, match="unknown token"):
            await new_transport(await serve(gate)).send(request_, keep, attempts=5)
        assert gate.seen == [TOKEN]

    async def test_renewed_request_acquires_a_new_slot(self, new_transport, events, serve, request_: Request):
        """A request that is sent again with a new token waits for another slot."""
        called_at = []

        async def acquire_slot() -> None:
            called_at.append(now())
            await asyncio.sleep(10)

        transport = new_transport(await serve(TokenGate(NEW_TOKEN)), token=TokenSequence(TOKEN, NEW_TOKEN, seconds=3))
        await transport.send(request_, keep, acquire_slot=acquire_slot)
        assert called_at == [3.0, 16.0]
        assert events.sent_at() == [13.0, 26.0]

    async def test_unreachable_provider_is_retried(self, new_transport, serve, request_: Request):
        """An unreachable provider is a transient error, and the service has accepted nothing."""
        gate, provider = TokenGate(NEW_TOKEN), TokenSequence(OSError("sealed"), TOKEN, OSError("sealed"), NEW_TOKEN)
        transport = new_transport(await serve(gate), token=provider)
        await transport.send(request_, READERS[request_.path], attempts=3)
        rng = random.Random(0)
        delays = [0.0, *itertools.accumulate(bound * rng.random() for bound in (1, 2))]
        assert gate.seen == [TOKEN, NEW_TOKEN]
        assert provider.calls == [delays[0], delays[1], delays[1], delays[2]]

    async def test_unreachable_provider_fails_all_concurrent_requests(self, new_transport, serve, request_: Request):
        """They share the transient error, and no request reports a wrong token."""
        gate, provider = TokenGate(seconds=1), TokenSequence(TOKEN, OSError("sealed"), seconds=2)
        transport = new_transport(await serve(gate), token=provider, attempts=1)
        errors = await asyncio.gather(*(transport.send(request_, keep) for _ in range(10)), return_exceptions=True)
        assert {(type(error), error.reached) for error in errors} == {(acetasks.TransportError, False)}
        assert provider.calls == [0.0, 3.0]
        assert now() == 5.0

    async def test_hanging_provider_times_out(self, new_transport, events, request_: Request):
        """A hanging provider fails at the endpoint's timeout, before anything is sent."""
        provider = TokenSequence(TOKEN, seconds=10_000)
        with pytest.raises(acetasks.TransportError, match=r"token provider .* could not be reached") as caught:
            await new_transport(token=provider, attempts=1).send(request_, keep)
        assert not caught.value.reached
        assert now() == 30.0
        assert events == []

    async def test_cancelled_renewal_passes_to_the_next_request(self, new_transport, serve, request_: Request):
        """A request that is cancelled during renewal does not block others."""
        gate, provider = TokenGate(NEW_TOKEN), TokenSequence(TOKEN, "never-given", NEW_TOKEN, seconds=10)
        transport = new_transport(await serve(gate), token=provider)
        first, second = (asyncio.create_task(transport.send(request_, keep)) for _ in range(2))
        await asyncio.sleep(14)
        first.cancel()
        await second
        assert first.cancelled()
        assert gate.seen == [TOKEN, TOKEN, NEW_TOKEN]
        assert provider.calls == [0.0, 10.0, 14.0]


async def test_uncertain_submission_after_renewal_has_the_second_time(new_transport, events, listen):
    """The refused attempt was surely not accepted, so the uncertain one is the second."""
    refusal = reply(b"", b"content-length: 0", status=b"401 Unauthorized")
    transport = new_transport(await listen(refusal, b""), token=TokenSequence(TOKEN, NEW_TOKEN, seconds=3))
    with pytest.raises(acetasks.SubmissionUncertainError) as caught:
        await transport.send(SUBMISSION, keep)
    assert caught.value.sent_at == wall_time(6.0)
    assert events.sent_at() == [3.0, 6.0]


def echo_of(status: int, form: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a service that repeats the headers of each request in its response."""

    async def respond(request: web.Request) -> web.Response:
        text = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        message = f"{'x' * 200} authorization: {request.headers['authorization']} {text}"
        if form == "page":
            return web.Response(text=f"<html>{text}", status=status)
        if form == "url":
            return web.Response(text=quote(request.headers["authorization"]), status=status)
        body = {"error": {"code": request.headers["authorization"], "message": message}, "trace_id": text}
        if form == "cut":
            return web.Response(text=json.dumps({"trace_id": text} | body)[:-2], status=status)
        return web.json_response(body if form == "error" else {"detail": message}, status=status)

    return respond


class TestEchoes:
    """Responses that repeat the headers of the request, as debugging proxies send."""

    @pytest.mark.parametrize(
        "answer",
        [
            *itertools.product([302, 400, 401, 403, 404, 429, 500, 502], ["error", "detail", "page", "url", "cut"]),
            *itertools.product([200], ["page", "url", "cut"]),
        ],
        ids=lambda answer: "{}-{}".format(*answer),
    )
    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_no_error_shows_the_token(self, new_transport, events, serve, answer, request_):
        """It is masked in text, attributes, causes, events and variables, also where the text is cut off."""
        token = "sesame/0123+456789=="
        transport = new_transport(await serve(echo_of(*answer)), token=Secret(token))
        with pytest.raises(acetasks.AceTasksError) as caught:
            await transport.send(request_, READERS[request_.path])
        *_, failure = [event.error for event in events if isinstance(event, acetasks.RequestFailed)]
        shown = "".join(
            (expose(caught.value), repr(vars(caught.value)), repr(failure), repr(vars(failure)), repr(events))
        )
        assert "sesame" not in shown
        assert "[masked]" in shown

    async def test_record_of_a_task_stays_as_it_is(self, new_transport, serve):
        """Even if it has the token in it: a prompt may, and the record is the user's."""
        sent = f'{{"id":"t","request":{{"prompt":"{TOKEN}"}}}}'

        async def respond(_: web.Request) -> web.Response:
            return web.Response(text=sent)

        response = await new_transport(await serve(respond)).send(POLL, READERS[POLL.path])
        assert response.statuses["t"].raw == sent.encode()

    async def test_renewed_token_is_masked(self, new_transport, serve):
        """The second request of an attempt has another token."""
        sent = []

        async def respond(request: web.Request) -> web.Response:
            sent.append(request.headers["authorization"])
            status = 401 if len(sent) == 1 else 400
            return web.json_response({"error": {"message": f"got {sent[-1]}"}}, status=status)

        transport = new_transport(await serve(respond), token=TokenSequence(TOKEN, NEW_TOKEN))
        with pytest.raises(acetasks.BadRequestError, match=r"got Bearer \[masked\]") as caught:
            await transport.send(POLL, keep)
        assert sent == [f"Bearer {TOKEN}", f"Bearer {NEW_TOKEN}"]
        assert caught.value.message == "got Bearer [masked]"
        assert NEW_TOKEN not in expose(caught.value)

    async def test_malformed_response_is_masked(self, new_transport, listen):
        """The error of aiohttp quotes the line of a header that it cannot read."""
        broken = reply(b"{}", b"content-length: 2", b"x-echo: Bearer %s\0" % TOKEN.encode())
        with pytest.raises(acetasks.TransportError, match="masked") as caught:
            await new_transport(await listen(broken)).send(POLL, keep)
        assert TOKEN not in expose(caught.value)

    async def test_unexpected_exception_is_masked(self, new_transport, serve):
        """A reader that fails with a quotation of the body shows no token."""

        def read(response: Response) -> None:
            raise ValueError(response.body)

        async def respond(request: web.Request) -> web.Response:
            return web.Response(text=request.headers["authorization"])

        with pytest.raises(ValueError, match="masked") as caught:
            await new_transport(await serve(respond)).send(POLL, read)
        assert TOKEN not in expose(caught.value)


class TestClosing:
    """Requests in flight when the transport is closed."""

    async def test_closes_only_its_own_session(self, new_transport, serve):
        """Closing is idempotent, and the user's session stays open."""
        gate = TokenGate(TOKEN)
        url = await serve(gate)
        async with aiohttp.ClientSession() as http:
            used, never_used, borrowing = new_transport(url), new_transport(url), new_transport(url, http=http)
            await used.send(POLL, keep)
            await borrowing.send(POLL, keep)
            for _ in range(2):
                await used.close()
                await never_used.close()
                await borrowing.close_idle()
                await borrowing.close()
            await asyncio.sleep(0.01)
            assert not http.closed
            assert [transport.is_closing() for transport in gate.connections].count(False) == 1

    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    async def test_sends_nothing_after_closing(self, new_transport, events, serve, request_):
        """A closed transport does not send, not even over the user's open session."""
        gate = TokenGate(TOKEN)
        url = await serve(gate)
        async with aiohttp.ClientSession() as http:
            closed, borrowing = new_transport(url), new_transport(url, http=http)
            await borrowing.send(POLL, keep)
            for transport in (closed, borrowing):
                await transport.close()
                events.clear()
                with pytest.raises(acetasks.ClientClosedError, match=f"closed before POST {request_.path} was sent"):
                    await transport.send(request_, keep, attempts=3)
                assert events == []
            await asyncio.sleep(1)
        assert len(gate.seen) == 1

    @pytest.mark.parametrize("is_own", [True, False], ids=["own pool", "the user's"])
    async def test_closing_aborts_polls(self, new_transport, events, serve, is_own):
        """A retried poll ends at once, whichever session it uses."""
        async with contextlib.AsyncExitStack() as stack:
            http = None if is_own else await stack.enter_async_context(aiohttp.ClientSession())
            transport = new_transport(await serve(TokenGate(TOKEN, seconds=25)), http=http)
            sending = asyncio.create_task(transport.send(POLL, keep, attempts=3))
            await asyncio.sleep(7)
            await transport.close()
            with pytest.raises(
                acetasks.ClientClosedError, match="closed before POST /luma/tasks was answered"
            ) as caught:
                await sending
        assert TOKEN not in expose(caught.value)
        assert events.names() == ["RequestSent"]
        assert now() == 7.0

    async def test_closing_makes_sent_submissions_uncertain(self, new_transport, serve):
        """A submission in flight may have been accepted."""
        transport = new_transport(await serve(TokenGate(TOKEN, seconds=25)), token=TokenSequence(TOKEN, seconds=2))
        sending = asyncio.create_task(transport.send(SUBMISSION, keep))
        await asyncio.sleep(7)
        await transport.close()
        with pytest.raises(acetasks.SubmissionUncertainError, match="closed before the response came") as caught:
            await sending
        assert (caught.value.sent_at, caught.value.payload) == (wall_time(2.0), SUBMISSION.body)
        assert TOKEN not in expose(caught.value)
        assert now() == 7.0

    @pytest.mark.parametrize(
        ("stage", "attempts"), [("slot", 0), ("token", 0), ("another token", 1), ("another attempt", 1)]
    )
    async def test_closing_aborts_unsent_submissions(self, new_transport, events, serve, listen, stage, attempts):  # noqa: PLR0917  # one argument for each column
        """A submission that waits for its first or next attempt is not uncertain."""

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        acquire_slot = functools.partial(asyncio.sleep, 100) if stage == "slot" else None
        provider = TokenSequence(TOKEN, NEW_TOKEN, seconds=25 if stage == "token" else 4)
        refusing, broken = await serve(TokenGate()), (await listen(speak=hang_up)).replace("http:", "https:")
        transport = new_transport(
            broken if stage == "another attempt" else refusing, token=provider, base=1000, cap=1000
        )
        sending = asyncio.create_task(transport.send(SUBMISSION, keep, acquire_slot=acquire_slot))
        await asyncio.sleep(7)
        await transport.close()
        with pytest.raises(acetasks.ClientClosedError, match="closed before POST /luma/videos was answered"):
            await sending
        assert events.names() == ["RequestSent", "RequestFailed"] * attempts
        assert now() == 7.0
