"""Readers of responses."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acetasks import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    Task,
    TaskState,
    UnknownProviderError,
)
from acetasks._http import responses
from acetasks._http.requests import Request, Response, build_poll, build_submission
from acetasks._http.responses import PollResponse, read_failure, read_poll_response, read_submission
from acetasks._records import ECHO_LIMIT
from acetasks.providers import ProviderSpec, RecordStatus, lookup, read_record, specs

if TYPE_CHECKING:
    from collections.abc import Sequence

FLUX, LUMA, VEO, SUNO = lookup("flux"), lookup("luma"), lookup("veo"), lookup("suno")
CAPTCHA, DIGITAL_HUMAN, MAESTRO = lookup("captcha"), lookup("digital-human"), lookup("maestro")
MINIMAX, USEAPI = lookup("minimax"), lookup("useapi-pixverse")

#: A poll of one task, a poll of two, and a submission.
POLL, BATCH_POLL = build_poll(LUMA, ["t-1"]), build_poll(LUMA, ["t-1", "t-2"])
SUBMISSION = build_submission(LUMA, {"prompt": "a paper boat"})


def respond(status: int, body: object) -> Response:
    """Build a response from an object, a text or bytes."""
    if isinstance(body, str):
        body = body.encode()
    return Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def fail(request: Request, status: int, body: object, retry_after: float | None = None) -> APIError:
    """Read the error of a response that has one."""
    failure = read_failure(request, respond(status, body), retry_after)
    assert isinstance(failure, APIError)
    return failure


TRACE = "140a49e3-68b6-55ea-b964-770b7226e4a9"


def documented(code: str, message: str = "from the service") -> dict[str, object]:
    """Build an error body of the usual shape."""
    return {"success": False, "error": {"code": code, "message": message}, "trace_id": TRACE}


class TestReadFailure:
    """`read_failure`: the error of a response, by code first and by status second."""

    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_good_status_is_not_a_failure(self, status: int) -> None:
        """A body with a good status is left to the other readers."""
        assert read_failure(POLL, respond(status, documented("api_error")), 5.0) is None

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "token_mismatched", PermissionDeniedError),
            (400, "api_not_implemented", BadRequestError),
            (400, "bad_request", BadRequestError),
            (400, "invalid_request", BadRequestError),
            (400, "no_token", AuthenticationError),
            (400, "disabled", PermissionDeniedError),
            (401, "invalid_token", AuthenticationError),
            (401, "token_expired", AuthenticationError),
            (401, "token_mismatched", AuthenticationError),
            (403, "used_up", PermissionDeniedError),
            (403, "forbidden", PermissionDeniedError),
            (403, "disabled", PermissionDeniedError),
            (413, "request_too_large", BadRequestError),
            (429, "too_many_requests", RateLimitError),
            (429, "rate_limited", RateLimitError),
            (500, "api_error", ServiceError),
            (500, "busy", ServiceError),
            (504, "timeout", ServiceError),
        ],
    )
    @pytest.mark.parametrize("request_", [POLL, BATCH_POLL, SUBMISSION], ids=["poll", "batch", "submission"])
    def test_reads_the_documented_errors(self, request_: Request, status: int, code: str, kind: type[APIError]) -> None:
        """Each documented code maps to one error class, with all details."""
        error = fail(request_, status, documented(code), retry_after=7.5)

        assert type(error) is kind
        assert (error.status, error.code, error.trace_id) == (status, code, TRACE)
        assert error.retry_after == 7.5
        assert (error.provider, error.message) == ("luma", "from the service")
        assert str(error) == f"luma: HTTP {status} {code}: from the service (trace id {TRACE})"

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (500, "invalid_token", AuthenticationError),
            (400, "used_up", PermissionDeniedError),
            (400, "rate_limited", RateLimitError),
            (503, "too_many_requests", RateLimitError),
            (400, "api_error", ServiceError),
            (403, "busy", ServiceError),
        ],
    )
    def test_code_decides_before_status(self, status: int, code: str, kind: type[APIError]) -> None:
        """A gateway may put any status before a known code."""
        assert type(fail(POLL, status, documented(code))) is kind

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (402, PermissionDeniedError),
            (403, PermissionDeniedError),
            (404, BadRequestError),
            (405, BadRequestError),
            (408, ServiceError),
            (410, BadRequestError),
            (413, BadRequestError),
            (414, BadRequestError),
            (422, BadRequestError),
            (429, RateLimitError),
            (500, ServiceError),
            (502, ServiceError),
            (503, ServiceError),
            (504, ServiceError),
            (521, ServiceError),
        ],
    )
    @pytest.mark.parametrize("body", ["", "<html>oops</html>", "{}", "null", documented("made_up")])
    def test_status_decides_without_known_code(self, status: int, kind: type[APIError], body: object) -> None:
        """An undocumented or missing code leaves the decision to the status."""
        error = fail(POLL, status, body)

        assert type(error) is kind
        assert error.status == status
        assert error.retry_after is None

    @pytest.mark.parametrize(
        ("body", "code", "message", "trace_id"),
        [
            (documented("busy", "try later"), "busy", "try later", TRACE),
            ({"error": {"code": "busy", "message": "try later"}}, "busy", "try later", None),
            ({"error": {"message": "try later"}}, None, "try later", None),
            ({"error": {"code": "busy", "detail": "try later"}}, "busy", "try later", None),
            ({"error": {"code": 1013, "message": "try later"}}, "1013", "try later", None),
            ({"error": "try later"}, None, "try later", None),
            ({"error": "try later", "code": 503}, "503", "try later", None),
            ({"error": " try later\n"}, None, "try later", None),
            ({"detail": "try later"}, None, "try later", None),
            ({"code": "busy", "detail": "try later"}, "busy", "try later", None),
            ({"code": "busy", "detail": {"detail": "try later"}, "trace_id": TRACE}, "busy", "try later", TRACE),
            ({"detail": {"message": "try later"}}, None, "try later", None),
            ({"code": "busy", "message": "try later", "trace_id": TRACE}, "busy", "try later", TRACE),
            (
                {"type": "error", "error": {"type": "overloaded_error", "message": "try later", "http_code": "529"}},
                "overloaded_error",
                "try later",
                None,
            ),
            ({"error": {"message": "try later", "http_code": "529"}}, "529", "try later", None),
            ("upstream connect error\n", None, "upstream connect error", None),
            ("", None, "no message", None),
            (" \n", None, "no message", None),
            (b"\xff\xfe", None, "\ufffd\ufffd", None),
            ({"odd": 1}, None, '{"odd": 1}', None),
            ({"error": {}}, None, '{"error": {}}', None),
            ({"error": {"code": None, "message": ""}, "detail": "try later"}, None, "try later", None),
            ([1, 2], None, "[1, 2]", None),
        ],
    )
    def test_reads_every_shape_of_error_body(
        self, body: object, code: str | None, message: str, trace_id: str | None
    ) -> None:
        """Code, message and trace id are found in every documented place; else the body is the message."""
        error = fail(POLL, 503, body)

        assert (error.code, error.message, error.trace_id) == (code, message, trace_id)

    @pytest.mark.parametrize(
        ("headers", "body", "trace_id"),
        [
            ({"x-trace-id": TRACE}, {"error": "no"}, TRACE),
            ({"x-request-id": "req_1"}, {"error": "no"}, "req_1"),
            ({"x-trace-id": TRACE, "x-request-id": "req_1"}, "<html>", TRACE),
            ({"x-trace-id": "header"}, documented("busy"), TRACE),
            ({"x-trace-id": " "}, {"error": "no"}, None),
        ],
    )
    def test_the_trace_id_may_be_in_a_header(self, headers: dict[str, str], body: object, trace_id: str | None) -> None:
        """The one in the body comes first."""
        response = msgspec.structs.replace(respond(500, body), headers=headers)
        failure = read_failure(POLL, response, None)

        assert isinstance(failure, APIError)
        assert failure.trace_id == trace_id

    def test_an_error_may_name_a_task(self) -> None:
        """A submission may be refused after its task was recorded (suno, kling)."""
        error = fail(SUBMISSION, 400, {"error": {"code": "bad_request", "message": "no"}, "task_id": "t-1"})

        assert error.task_id == "t-1"
        assert str(error) == "luma: HTTP 400 bad_request: no (task t-1)"
        assert fail(SUBMISSION, 400, documented("bad_request")).task_id is None

    def test_minimax_request_id_is_the_trace_id(self) -> None:
        """Minimax's `request_id` is stored as `trace_id`."""
        error = fail(
            build_poll(MINIMAX, ["t-1"]),
            429,
            {
                "type": "error",
                "error": {"type": "rate_limit_error", "message": "Too many requests.", "http_code": "429"},
                "request_id": "req_1",
            },
        )

        assert type(error) is RateLimitError
        assert error.code == "rate_limit_error"
        assert error.trace_id == "req_1"

    @pytest.mark.parametrize(
        "body",
        ["x" * 10_000, {"detail": "x" * 10_000}, {"error": {"message": "x" * 10_000}}, {"error": "é" * 10_000}],
        ids=["text", "detail", "message", "error"],
    )
    def test_messages_are_truncated(self, body: object) -> None:
        """No error repeats more than 256 characters of a body."""
        error = fail(POLL, 500, body)

        assert len(error.message) == ECHO_LIMIT == 256
        assert str(error) == f"luma: HTTP 500: {error.message}"

    @pytest.mark.parametrize("key", ["code", "trace_id", "task_id"])
    def test_codes_and_trace_ids_are_truncated(self, key: str) -> None:
        """Codes and trace ids are truncated too."""
        error = fail(POLL, 500, {key: "x" * 10_000, "message": "try later"})

        assert len(str(error)) < 1000

    @pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
    @pytest.mark.parametrize("request_", [POLL, SUBMISSION], ids=["poll", "submission"])
    def test_redirect_is_an_error(self, request_: Request, status: int) -> None:
        """A redirect is an error that says what to check."""
        error = fail(request_, status, "")

        assert type(error) is BadRequestError
        assert error.status == status
        assert "redirects are not followed with the token: check the base URL" in str(error)

    @pytest.mark.parametrize("request_", [POLL, BATCH_POLL, SUBMISSION], ids=["poll", "batch", "submission"])
    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 422, 451])
    @pytest.mark.parametrize(
        "body",
        [
            *(
                "",
                " ",
                "<html><title>Just a moment...</title></html>",
                "Forbidden",
                b"\xff",
                "null",
                "[]",
                "{}",
                '"no"',
            ),
            *({"message": "Forbidden"}, {"message": "no", "request_id": "r"}, {"code": 1020, "message": "denied"}),
            {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None},
            *({"error": {}}, {"error": None, "message": "no"}, {"status": 403, "title": "Forbidden"}),
        ],
        ids=repr,
    )
    def test_error_of_a_gateway_is_transient(self, request_: Request, status: int, body: object) -> None:
        """Only what the service says itself is final: a firewall, a captive portal or a deployment passes."""
        error = fail(request_, status, body)

        assert error.transient is True
        assert "gateway, firewall or proxy" in str(error)

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 422])
    @pytest.mark.parametrize(
        "body",
        [
            *(documented("made_up"), {"error": {"message": "no"}}, {"error": "no"}, {"error": "no", "code": 403}),
            *({"detail": "no"}, {"detail": [{"msg": "field required"}]}, {"code": "bad_request", "detail": "no"}),
            *({"code": "used_up", "message": "no"}, {"message": "no", "trace_id": TRACE}),
            {"type": "error", "error": {"type": "made_up", "message": "no"}, "request_id": "r"},
        ],
        ids=repr,
    )
    def test_error_of_the_service_is_final(self, status: int, body: object) -> None:
        """In each of its documented forms."""
        error = fail(POLL, status, body)

        assert error.transient is False
        assert "gateway" not in str(error)

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_redirect_is_transient(self, status: int) -> None:
        """It may lead to a login wall or a maintenance page."""
        assert fail(POLL, status, documented("made_up")).transient is True

    def test_refused_size_is_believed(self) -> None:
        """A gateway's limit of the size is met by smaller batches."""
        assert fail(BATCH_POLL, 413, "<html>too large</html>").transient is False

    @pytest.mark.parametrize("body", ["", "<html>", "{}", {"message": "no"}], ids=repr)
    @pytest.mark.parametrize(("spec", "status"), [(USEAPI, 410), (CAPTCHA, 504)])
    def test_gateway_does_not_fail_a_task(self, spec: ProviderSpec, status: int, body: object) -> None:
        """A status that means that the task has failed does so only in the service's own words."""
        assert fail(build_poll(spec, ["t-1"]), status, body).transient is True

    def test_only_redirects_have_the_hint(self) -> None:
        """Other errors do not mention redirects."""
        assert "redirect" not in str(fail(POLL, 400, ""))

    @pytest.mark.parametrize("request_", [POLL, BATCH_POLL], ids=["poll", "batch"])
    def test_unknown_path_is_an_unknown_provider(self, request_: Request) -> None:
        """The code `no_api` on a tasks call means that the service has no such provider."""
        failure = read_failure(request_, respond(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.provider == "luma"

    def test_unknown_provider_has_a_suggestion(self) -> None:
        """The error suggests the most similar known provider."""
        failure = read_failure(build_poll(lookup("luma2"), ["t-1"]), respond(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.suggestion == "luma"
        assert "unknown provider 'luma2'; did you mean 'luma'?" in str(failure)

    def test_provider_is_not_suggested_for_itself(self) -> None:
        """If the service has dropped a known provider, its own name is not suggested."""
        failure = read_failure(POLL, respond(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.suggestion != "luma"
        assert "did you mean 'luma'" not in str(failure)

    def test_unknown_path_of_a_submission_is_a_bad_request(self) -> None:
        """The path of a submission may be the caller's, so it does not imply an unknown provider."""
        error = fail(SUBMISSION, 404, documented("no_api"))

        assert type(error) is BadRequestError
        assert error.code == "no_api"

    @pytest.mark.parametrize(
        ("spec", "status", "body"),
        [
            (CAPTCHA, 404, {"success": False, "error": {"code": "not_found", "message": "task not found"}}),
            (DIGITAL_HUMAN, 404, {"error": {"code": "no_task", "message": "gone"}, "trace_id": TRACE}),
            (MAESTRO, 404, {"detail": "task not found"}),
            (MAESTRO, 404, {"detail": {"detail": "task not found"}}),
            (LUMA, 404, {"error": {"message": "Task does not exist"}}),
            (USEAPI, 404, {"error": "Unable to locate job 7", "code": 404}),
            (USEAPI, 410, {"error": "Job has expired", "code": 410}),
            (CAPTCHA, 504, {"task_id": "t-1", "success": False, "code": "timeout", "detail": "timed out"}),
        ],
        ids=["not_found", "no_task", "detail", "inner detail", "message", "job", "expired", "captcha's timeout"],
    )
    def test_status_of_the_task_is_not_a_failure(
        self, spec: ProviderSpec, status: int, body: dict[str, object]
    ) -> None:
        """A status that describes the task is left to the reader of its record."""
        assert read_failure(build_poll(spec, ["t-1"]), respond(status, body), None) is None

    @pytest.mark.parametrize(("status", "kind"), [(404, BadRequestError), (410, BadRequestError), (504, ServiceError)])
    def test_submission_statuses_are_always_failures(self, status: int, kind: type[APIError]) -> None:
        """The same responses to a submission are errors."""
        for spec in (CAPTCHA, USEAPI):
            request = build_submission(spec, {})
            assert type(fail(request, status, {"error": {"code": "no_task", "message": "task not found"}})) is kind

    @pytest.mark.parametrize("body", [{"error": {"code": "no_task"}}, {"detail": "task not found"}])
    def test_404_for_a_batch_is_an_error(self, body: dict[str, object]) -> None:
        """A 404 that names a task is an error for a batch, which can be split."""
        assert type(fail(build_poll(DIGITAL_HUMAN, ["t-1", "t-2"]), 404, body)) is BadRequestError

    @pytest.mark.parametrize(
        "body", ["", "<html>404</html>", {"detail": "Not Found"}, documented("no_route"), {"error": "Not Found"}]
    )
    def test_404_without_task_is_a_bad_request(self, body: object) -> None:
        """A gateway's own 404 is not mistaken for a missing task."""
        assert type(fail(POLL, 404, body)) is BadRequestError

    @given(
        status=st.integers(300, 599),
        body=st.binary(max_size=300),
        request_=st.sampled_from([POLL, BATCH_POLL, SUBMISSION]),
        retry_after=st.none() | st.floats(0, 1e6),
    )
    @example(status=500, body=b'{"code":1' + b"0" * 400 + b"}", request_=POLL, retry_after=None)
    @example(status=500, body=b'{"error":' * 100_000, request_=POLL, retry_after=None)
    def test_any_response_is_a_known_error_or_none(
        self, status: int, body: bytes, request_: Request, retry_after: float | None
    ) -> None:
        """Any bytes with any status give one of this library's errors with a short message, or None."""
        failure = read_failure(request_, Response(status=status, body=body), retry_after)

        if isinstance(failure, APIError):
            assert (failure.status, failure.retry_after) == (status, retry_after)
            assert 0 < len(failure.message) <= ECHO_LIMIT
        else:
            assert failure is None or isinstance(failure, UnknownProviderError)


def read(request: Request, body: object, status: int = 200, known: Sequence[bytes | None] = ()) -> PollResponse:
    """Read the response to a poll of luma tasks."""
    return read_poll_response(LUMA, request, respond(status, body), known)


def states(result: PollResponse) -> dict[str, str]:
    """Return the state of each task of a poll."""
    assert all(status.task.id == task_id for task_id, status in result.statuses.items())
    return {task_id: status.task.state.value for task_id, status in result.statuses.items()}


#: Records that are complete but unreadable.
UNREADABLE = [b'{"id":"t-1","progress":1e999}', b"7", b"[]", b'"t-1"', b'{"items":[]}']


class TestReadSinglePoll:
    """`read_poll_response` for one task: the body is the record."""

    @pytest.mark.parametrize("body", [{"id": "t-1"}, {"task": {"id": "t-1"}}, {"state": "queued"}, {"task_id": "t-1"}])
    def test_body_is_the_record(self, body: dict[str, object]) -> None:
        """Wrapped or not, with or without an id, the record belongs to the polled task."""
        result = read(POLL, body)

        assert states(result) == {"t-1": "pending"}
        assert result.unreadable == 0

    def test_reads_the_whole_record(self) -> None:
        """The status has the task with its artifacts, and flags for unconfirmed and unknown states."""
        result = read(POLL, {"id": "t-1", "response": {"success": True, "video_url": "https://x.test/1.mp4"}})
        status = result.statuses["t-1"]

        assert status.task.state is TaskState.SUCCEEDED
        assert [artifact.url for artifact in status.task.artifacts] == ["https://x.test/1.mp4"]
        assert status.unconfirmed is False
        assert read(POLL, {"id": "t-1", "response": {"success": False}}).statuses["t-1"].unconfirmed is True
        assert read(POLL, {"id": "t-1", "state": "made_up"}).statuses["t-1"].unknown_word == "made_up"

    def test_empty_object_is_not_found(self) -> None:
        """The service returns an empty object or null for an unknown id."""
        assert states(read(POLL, {})) == {"t-1": "not_found"}
        assert states(read(POLL, "null")) == {"t-1": "not_found"}

    @pytest.mark.parametrize(
        ("spec", "status", "body", "state"),
        [
            (
                CAPTCHA,
                404,
                {"success": False, "error": {"code": "not_found", "message": "task not found"}},
                "not_found",
            ),
            (LUMA, 404, {"error": {"message": "Task does not exist"}}, "not_found"),
            (USEAPI, 410, {"error": "Job has expired", "code": 410}, "failed"),
            (CAPTCHA, 504, {"success": False, "error": {"code": "timeout", "message": "timed out"}}, "failed"),
        ],
        ids=["captcha's 404", "luma's 404", "useapi's 410", "captcha's 504"],
    )
    def test_error_status_may_describe_the_task(
        self, spec: ProviderSpec, status: int, body: dict[str, object], state: str
    ) -> None:
        """An HTTP error that `read_failure` leaves to the task is read as its record."""
        request = build_poll(spec, ["t-1"])

        assert read_failure(request, respond(status, body), None) is None
        assert states(read_poll_response(spec, request, respond(status, body))) == {"t-1": state}

    def test_error_status_without_task_state_is_refused(self) -> None:
        """If the status describes the task but the body does not, polling again may help."""
        with pytest.raises(ProtocolError, match="HTTP 504") as caught:
            read_poll_response(CAPTCHA, build_poll(CAPTCHA, ["t-1"]), respond(504, {"success": True}))

        assert caught.value.transient is True

    @pytest.mark.parametrize(
        ("code", "kind"),
        [("invalid_token", AuthenticationError), ("used_up", PermissionDeniedError), ("busy", ServiceError)],
    )
    @pytest.mark.parametrize("status", [200, 201])
    def test_request_error_with_good_status_is_raised(self, status: int, code: str, kind: type[APIError]) -> None:
        """With a good status and no task id, a request error code is not a failed task."""
        error = {"code": code, "message": "no"}
        with pytest.raises(kind, match=f"luma: HTTP {status} {code}: no") as caught:
            read(POLL, {"error": error, "trace_id": "x"}, status)

        assert type(caught.value) is kind
        assert states(read(POLL, {"task_id": "t-1", "success": False, "error": error})) == {"t-1": "failed"}
        assert states(read(POLL, {"id": "t-1", "error": error})) == {"t-1": "failed"}

    def test_other_codes_are_task_errors(self) -> None:
        """A code that is not one of request errors belongs to the task."""
        assert states(read(POLL, {"error": {"code": "made_up", "message": "no"}})) == {"t-1": "failed"}

    @pytest.mark.parametrize(
        ("body", "transient"),
        [
            ("", True),
            ("<html>Bad Gateway</html>", True),
            ('{"id":"t-1",', True),
            (b"\xff", True),
            (b"{'id'", True),
            ({"items": [], "count": 0}, False),
            *((body, False) for body in (*UNREADABLE, b'{"id":"t-1","x":undefined}', b' {"id":"t-1"}}\n')),
            (b'{"id":"t-1","response":{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", False),
            (b'{"task":' * 100 + b'{"id":"t-1"}' + b"}" * 100, False),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_refuses_other_bodies(self, body: object, transient: bool) -> None:  # noqa: FBT001  # a column
        """A possibly truncated body is worth another poll; a complete and unreadable one is not."""
        with pytest.raises(ProtocolError) as caught:
            read(POLL, body)

        assert caught.value.transient is transient

    @pytest.mark.parametrize(
        ("spec", "body"),
        [
            (LUMA, {"id": "t-2", "response": {"success": True, "video_url": "https://cdn.example/not-yours.mp4"}}),
            (LUMA, {"id": "t-2", "task_id": "t-3", "response": {"task_id": "t-4"}}),
            (LUMA, {"task_id": "t-2", "success": True, "data": []}),
            (MINIMAX, {"task": {"id": "t-2", "status": "succeeded"}}),
            (USEAPI, {"jobid": "t-2", "status": "completed"}),
        ],
        ids=["id", "several ids", "flat", "wrapped", "useapi"],
    )
    def test_the_record_of_another_task_is_refused(self, spec: ProviderSpec, body: dict[str, object]) -> None:
        """A cache or gateway may mix responses up: another poll may get the right one."""
        with pytest.raises(ProtocolError, match=r"a poll of task 't-1' is the record of task 't-2'") as caught:
            read_poll_response(spec, build_poll(spec, ["t-1"]), respond(200, body))

        assert caught.value.transient is True

    @pytest.mark.parametrize(
        "body",
        [
            {"response": {"state": "processing"}},
            {"_id": "67c5", "video_id": "v", "job_id": "j", "response": {"task_id": "other"}},
            {"id": None, "task_id": "", "response": {"state": "processing"}},
            {"id": "T-1", "response": {"state": "processing"}},
            {"id": " t-1\n", "response": {"state": "processing"}},
            {"id": "upstream", "task_id": "t-1", "response": {"state": "processing"}},
            {"id": "upstream", "job_id": "t-1", "response": {"state": "processing"}},
            {"id": "upstream", "generationId": "T-1", "response": {"state": "processing"}},
            {"id": "upstream", "response": {"task_id": "t-1", "state": "processing"}},
        ],
    )
    def test_one_of_its_ids_is_enough(self, body: dict[str, object]) -> None:
        """A record may have further ids or none, and its id in another case."""
        statuses = read(POLL, body).statuses

        assert {task_id: status.id for task_id, status in statuses.items()} == {"t-1": "t-1"}

    def test_the_record_of_another_task_may_be_unreadable_in_part(self) -> None:
        """Its other ids are not known then."""
        body = b'{"id":"t-2","job_id":"t-1","request":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        with pytest.raises(ProtocolError):
            read(POLL, body)


class TestReadBatchPoll:
    """`read_poll_response` for several tasks: any number of records."""

    @pytest.mark.parametrize("item", [{"id": "T-1"}, {"id": "\tt-1 "}, {"id": "upstream", "task_id": "T-1"}])
    def test_ids_match_in_any_case(self, item: dict[str, object]) -> None:
        """The task has the id that was polled."""
        statuses = read(BATCH_POLL, {"items": [item]}).statuses

        assert {task_id: status.task.id for task_id, status in statuses.items()} == {"t-1": "t-1"}

    def test_ids_that_differ_in_case_are_two_tasks(self) -> None:
        """An exact match comes first, and an id that could be either of them is neither."""
        request = build_poll(LUMA, ["ab", "AB"])
        items = [{"id": "AB", "response": {"state": "processing"}}, {"id": "Ab"}, {"id": "ab"}]

        assert states(read(request, {"items": items})) == {"ab": "pending", "AB": "running"}

    @pytest.mark.parametrize(
        "body",
        [
            {"items": [{"id": "t-2"}, {"id": "t-1"}], "count": 2},
            {"items": [{"id": "t-2"}, {"id": "t-1"}], "total": 90},
            {"items": [{"id": "t-2"}, {"id": "t-1"}]},
            {"count": 2, "data": None, "items": [{"id": "t-2"}, {"id": "t-1"}]},
            [{"id": "t-2"}, {"id": "t-1"}],
            {"items": [{"task_id": "t-1"}, {"task": {"id": "t-2"}}]},
        ],
        ids=["count", "total", "neither", "more beside", "a bare list", "other spellings"],
    )
    def test_records_are_matched_by_id(self, body: object) -> None:
        """The records are in `items` or form the whole body; order and counters do not matter."""
        result = read(BATCH_POLL, body)

        assert states(result) == {"t-1": "pending", "t-2": "pending"}
        assert result.unreadable == 0

    @pytest.mark.parametrize("body", [{"items": [], "count": 0}, []])
    def test_empty_batch_is_valid(self, body: object) -> None:
        """The service may know none of the ids."""
        assert read(BATCH_POLL, body) == PollResponse({})

    def test_ignores_records_of_other_tasks(self) -> None:
        """Records of other tasks, or without an id, are ignored and not counted as unreadable."""
        result = read(BATCH_POLL, {"items": [{"id": "t-3"}, {}, {"id": "t-2"}, {"state": "failed"}, {"id": ""}]})

        assert states(result) == {"t-2": "pending"}
        assert result.unreadable == 0

    def test_first_record_of_a_task_counts(self) -> None:
        """If a task has several contradicting records, the first counts."""
        assert states(read(BATCH_POLL, [{"id": "t-1", "state": "failed"}, {"id": "t-1"}])) == {"t-1": "failed"}

    @pytest.mark.parametrize("odd", UNREADABLE)
    def test_counts_unreadable_records(self, odd: bytes) -> None:
        """An unreadable record does not affect others; its id is unknown, so it is counted."""
        result = read(BATCH_POLL, b'{"items":[%s,{"id":"t-2"},%s]}' % (odd, odd))

        assert states(result) == {"t-2": "pending"}
        assert result.unreadable == 2

    @pytest.mark.parametrize("key", ["tasks", "data"])
    def test_records_under_another_key_are_read(self, key: str) -> None:
        """Official plugins read them there too; an empty list there does not mean that there are no such tasks."""
        assert states(read(BATCH_POLL, {"success": True, key: [{"id": "t-1"}]})) == {"t-1": "pending"}
        assert states(read(BATCH_POLL, {"items": [{"id": "t-2"}], key: [{"id": "t-1"}]})) == {"t-2": "pending"}
        for other in ([], {"id": "t-1"}, "t-1", 7, None):
            with pytest.raises(ProtocolError, match="has no items"):
                read(BATCH_POLL, {key: other})

    @pytest.mark.parametrize("body", ["null", '{"items":null,"count":0}', '{"items":[null]}'])
    def test_null_is_an_empty_batch(self, body: str) -> None:
        """A batch of unknown ids may be null, as the record of one is."""
        assert read(BATCH_POLL, body) == PollResponse({})

    def test_batch_of_unreadable_records_is_valid(self) -> None:
        """A batch without a readable record is not an error."""
        assert read(BATCH_POLL, b'{"items":[%s]}' % b",".join(UNREADABLE)) == PollResponse(
            {}, unreadable=len(UNREADABLE)
        )

    def test_half_a_surrogate_pair_is_repaired(self) -> None:
        """A prompt truncated inside an emoji is repaired; escaped backslashes are kept."""
        body = rb'{"items": [{"id": "t-1", "request": "cut \ud83d"}, {"id": "t-2", "request": "\\ud83d \ud83d\ude00"}]}'
        result = read(BATCH_POLL, body)
        prompts = [json.loads(result.statuses[task_id].task.raw)["request"] for task_id in ("t-1", "t-2")]

        assert prompts == ["cut \ufffd", "\\ud83d \U0001f600"]
        assert result.unreadable == 0

    @pytest.mark.parametrize("odd", [b'"progress":NaN', b'"x":-Infinity', b'"x":"a\tb"', rb'"x":"\q"'])
    def test_one_odd_record_leaves_a_batch_readable(self, odd: bytes) -> None:
        """What is not quite JSON is repaired, and the same response is not read again at the next poll."""
        body = b'{"items":[{"id":"t-1",%b},{"id":"t-2","state":"running"}]}' % odd
        result = read(BATCH_POLL, body)

        assert states(result) == {"t-1": "pending", "t-2": "running"}
        assert result.statuses["t-1"].progress is None
        known = [result.statuses[task_id].raw for task_id in BATCH_POLL.ids]
        assert read(BATCH_POLL, body, known=known) == PollResponse({}, ("t-1", "t-2"))

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("invalid_token", AuthenticationError),
            ("used_up", PermissionDeniedError),
            ("too_many_requests", RateLimitError),
            ("api_error", ServiceError),
        ],
    )
    def test_error_body_with_good_status_is_raised(self, code: str, kind: type[APIError]) -> None:
        """An error body is an error whatever the status."""
        with pytest.raises(APIError) as caught:
            read(BATCH_POLL, documented(code))

        error = caught.value
        assert type(error) is kind
        assert (error.status, error.code, error.trace_id) == (200, code, TRACE)
        assert "from the service" in str(error)

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "<html>Bad Gateway</html>",
            '{"items":[{"id":"t-1"},',
            '{"items":7}',
            '{"items":{"id":"t-1"}}',
            "{}",
            "7",
            '"items"',
            {"error": "odd"},
            documented("made_up"),
            b"\xff",
        ],
    )
    def test_refuses_other_batch_bodies(self, body: object) -> None:
        """The error has the beginning of the body, and polling again may help."""
        with pytest.raises(ProtocolError, match="luma: the response to a batch") as caught:
            read(BATCH_POLL, body)

        assert caught.value.transient is True
        shown = body if isinstance(body, str) else json.dumps(body) if isinstance(body, dict) else "\ufffd"
        assert caught.value.excerpt == shown

    def test_excerpts_are_truncated(self) -> None:
        """An HTML page is not repeated in full."""
        with pytest.raises(ProtocolError) as caught:
            read(BATCH_POLL, "<html>" + "x" * 10_000)

        assert len(caught.value.excerpt) == ECHO_LIMIT

    @pytest.mark.parametrize(
        ("body", "transient"),
        [
            (b'{"items":[{"id":"t-1","x":undefined},{"id":"t-2"}]}', False),
            (b'[{"id":"t-1"},]', False),
            (b'{"items":[{"id":"t-9","x":undefined}]}', True),
            (b"{'error': 'down for maintenance'}", True),
            (b'{"items":[{"id":"t-1","x":undefined},{"id":', True),
            (b'{"items":[{"id":"t-1"},{"id":"t-2"}', True),
            (b'{"items":"t-1"}', True),
        ],
    )
    def test_malformed_record_fails_its_batch(self, body: bytes, transient: bool) -> None:  # noqa: FBT001  # a column
        """A complete response is malformed by one of its records; another may be better at the next poll."""
        with pytest.raises(ProtocolError, match="luma: the response to a batch cannot be read") as caught:
            read(BATCH_POLL, body)

        assert caught.value.transient is transient

    def test_excessive_nesting_is_final(self) -> None:
        """A complete response with too much nesting will not become readable."""
        with pytest.raises(ProtocolError, match="luma: the response to a batch cannot be read") as caught:
            read(BATCH_POLL, b'{"items":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}")

        assert caught.value.transient is False

    @given(
        body=st.binary(max_size=300)
        | st.lists(
            st.sampled_from([*UNREADABLE, b"{}", b'{"id":"t-1"}', b'{"id":"t-2","state":"failed"}', b'{"id":"t-3"}'])
        ).map(lambda records: b'{"items":[%s]}' % b",".join(records)),
        request_=st.sampled_from([POLL, BATCH_POLL]),
    )
    @example(body=b'{"items":[' + b"[" * 100_000, request_=BATCH_POLL)
    @example(body=b'{"items":[{"x":1' + b"0" * 5000 + b"}]}", request_=BATCH_POLL)
    def test_any_body_is_a_result_or_a_known_error(self, body: bytes, request_: Request) -> None:
        """Any bytes give records of polled tasks only, or one of this library's errors."""
        try:
            result = read_poll_response(LUMA, request_, Response(status=200, body=body))
        except (ProtocolError, APIError):
            return
        assert states(result).keys() <= set(request_.ids)
        assert result.unreadable >= 0


ID = "5c231f52-1293-5d1a-ac7c-886a0ed3e9a3"


def submitted(spec: ProviderSpec, body: object, status: int = 200, *, asynchronous: bool = False) -> Task:
    """Read the response to a submission."""
    request = build_submission(spec, {"async": asynchronous}, "/any/path")
    return read_submission(spec, request, respond(status, body))


def write_batch(*records: bytes) -> bytes:
    """Build the body of a batch response."""
    return b'{"items":[%s]}' % b",".join(records)


class TestKnownRecords:
    """`read_poll_response` with known records: identical records are not read again."""

    FIRST, SECOND, THIRD = b'{"id":"t-1"}', b'{"id":"t-2"}', b'{"id":"t-3"}'
    CHANGED = b'{"id":"t-1","state":"failed"}'
    FOREIGN = b'{"id":"t-9"}'

    def test_identical_record_is_unchanged(self) -> None:
        """Unchanged ids are separate from new statuses."""
        result = read(BATCH_POLL, write_batch(self.FIRST, self.SECOND), known=(self.FIRST, None))

        assert set(result.unchanged) == {"t-1"}
        assert states(result) == {"t-2": "pending"}
        assert result.unreadable == 0

    @pytest.mark.parametrize("records", [(FIRST, SECOND), (SECOND, FIRST)], ids=["same order", "another order"])
    def test_all_records_may_be_unchanged(self, records: tuple[bytes, ...]) -> None:
        """Most polls find nothing new, in any order."""
        result = read(BATCH_POLL, write_batch(*records), known=(self.FIRST, self.SECOND))

        assert result == PollResponse({}, ("t-1", "t-2"))

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_known_record_is_recognised_at_any_position(self, order: tuple[int, ...]) -> None:
        """A record at the position of another id does not affect that id."""
        records = [self.CHANGED, self.SECOND, self.THIRD]
        body = write_batch(*(records[place] for place in order))
        result = read(build_poll(LUMA, ["t-1", "t-2", "t-3"]), body, known=(self.FIRST, self.SECOND, self.THIRD))

        assert set(result.unchanged) == {"t-2", "t-3"}
        assert states(result) == {"t-1": "failed"}

    @pytest.mark.parametrize("odd", UNREADABLE)
    @pytest.mark.parametrize("is_in_place", [True, False])
    def test_known_record_is_not_parsed(self, odd: bytes, is_in_place: bool) -> None:  # noqa: FBT001  # a column
        """An identical record is unchanged even if it is unreadable."""
        records = (odd, self.SECOND) if is_in_place else (self.SECOND, odd)
        result = read(BATCH_POLL, write_batch(*records), known=(odd, None))

        assert set(result.unchanged) == {"t-1"}
        assert states(result) == {"t-2": "pending"}
        assert result.unreadable == 0

    @pytest.mark.parametrize("step", [1, -1], ids=["same order", "another order"])
    def test_only_changed_records_are_parsed(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        """If one of fifty records has changed, one is parsed, in any order."""
        records = {f"t-{number}": b'{"id":"t-%d"}' % number for number in range(50)}
        known = list(records.values())
        records["t-7"] = b'{"id":"t-7","state":"failed"}'
        parsed = []

        def count(spec: ProviderSpec, record: bytes) -> RecordStatus:
            parsed.append(bytes(record))
            return read_record(spec, record)

        monkeypatch.setattr(responses, "read_record", count)
        result = read(build_poll(LUMA, list(records)), write_batch(*list(records.values())[::step]), known=known)

        assert parsed == [records["t-7"]]
        assert states(result) == {"t-7": "failed"}
        assert set(result.unchanged) == records.keys() - {"t-7"}

    @pytest.mark.parametrize(
        ("odd", "unchanged", "unreadable"),
        [
            (b'{"id":"t-9","state":"failed"}', ("t-1", "t-2"), 0),
            (b'{"id":"t-2","state":"failed"}', ("t-1", "t-2"), 0),
            (b"[]", ("t-1", "t-2"), 1),
        ],
        ids=["of another task", "of another polled task", "not a record"],
    )
    def test_odd_record_does_not_affect_others(self, odd: bytes, unchanged: tuple[str, ...], unreadable: int) -> None:
        """An odd record at the position of one id leaves the other ids unchanged."""
        request_ = build_poll(LUMA, ["t-1", "t-2", "t-3"])
        known = (self.FIRST, self.SECOND, self.THIRD)
        result = read(request_, write_batch(self.FIRST, self.SECOND, self.THIRD), known=known)
        assert result == PollResponse({}, ("t-1", "t-2", "t-3"))
        result = read(request_, write_batch(self.FIRST, self.SECOND, odd), known=known)

        assert (result.unchanged, result.statuses, result.unreadable) == (unchanged, {}, unreadable)

    @pytest.mark.parametrize("record", [b'{"id": "t-1"}', b'{"id":"t-1","state":"failed"}', b'{"id":"t-1","x":1}'])
    def test_any_other_bytes_are_changed(self, record: bytes) -> None:
        """Any difference counts as a change, even in whitespace."""
        result = read(BATCH_POLL, write_batch(record), known=(self.FIRST, None))

        assert result.statuses.keys() == {"t-1"}
        assert result.unchanged == ()

    @pytest.mark.parametrize("known", [(), (None, None), [None, None]])
    def test_records_may_all_be_unknown(self, known: Sequence[bytes | None]) -> None:
        """Without known records every record is new."""
        result = read(BATCH_POLL, write_batch(self.FIRST, self.SECOND), known=known)

        assert states(result) == {"t-1": "pending", "t-2": "pending"}
        assert result.unchanged == ()

    def test_missing_record_is_not_unchanged(self) -> None:
        """A known record that the response leaves out is not unchanged."""
        result = read(BATCH_POLL, write_batch(self.SECOND), known=(self.FIRST, self.SECOND))

        assert result == PollResponse({}, ("t-2",))

    @pytest.mark.parametrize(
        ("records", "unchanged", "changed"),
        [
            ((), "", ""),
            ((FIRST,), "t-1", ""),
            ((SECOND, THIRD), "t-2 t-3", ""),
            ((FIRST, THIRD), "t-1 t-3", ""),
            ((CHANGED, THIRD), "t-3", "t-1"),
            ((FIRST, SECOND, THIRD, FIRST, CHANGED), "t-1 t-2 t-3", ""),
            ((FOREIGN, FIRST, SECOND, THIRD), "t-1 t-2 t-3", ""),
            ((FIRST, FOREIGN, CHANGED, SECOND, FOREIGN, THIRD), "t-1 t-2 t-3", ""),
            ((SECOND, SECOND, SECOND, SECOND, CHANGED), "t-2", "t-1"),
        ],
    )
    def test_response_may_have_fewer_or_more_records(
        self, records: tuple[bytes, ...], unchanged: str, changed: str
    ) -> None:
        """Missing ids are in neither part; repeated and foreign records are ignored."""
        request = build_poll(LUMA, ["t-1", "t-2", "t-3"])
        result = read(request, write_batch(*records), known=(self.FIRST, self.SECOND, self.THIRD))

        assert set(result.unchanged) == set(unchanged.split())
        assert result.statuses.keys() == set(changed.split())
        assert result.unreadable == 0

    def test_foreign_records_are_ignored_at_any_position(self) -> None:
        """A foreign record is ignored at any position; an unreadable one is counted."""
        for records in itertools.permutations((self.FOREIGN, UNREADABLE[0], self.SECOND)):
            result = read(BATCH_POLL, write_batch(*records), known=(self.FIRST, None))

            assert states(result) == {"t-2": "pending"}
            assert result.unchanged == ()
            assert result.unreadable == 1

    @pytest.mark.parametrize(
        ("records", "is_known"),
        [
            ([FIRST, CHANGED], True),
            ([CHANGED, FIRST], False),
            ([FIRST, FIRST], True),
            ([FIRST, CHANGED, FIRST], True),
            ([CHANGED, FIRST, CHANGED], False),
            ([FIRST, FIRST, CHANGED], True),
            ([CHANGED, FIRST, FIRST], False),
            ([CHANGED, CHANGED, FIRST], False),
            ([FIRST, CHANGED, CHANGED], True),
        ],
        ids=lambda column: (
            "-".join("known" if b"failed" not in record else "changed" for record in column)
            if isinstance(column, list)
            else ""
        ),
    )
    @pytest.mark.parametrize("place", [0, 1, 2, 5])
    def test_first_record_counts_changed_or_not(
        self,
        records: list[bytes],
        is_known: bool,  # noqa: FBT001  # a column
        place: int,
    ) -> None:
        """A task is either changed or unchanged, decided by its first record, at any position."""
        ids = [f"o-{number}" for number in range(6)]
        ids[place] = "t-1"
        known: list[bytes | None] = [None] * 6
        known[place] = self.FIRST
        result = read(build_poll(LUMA, ids), write_batch(*records), known=known)

        assert result.unchanged == (("t-1",) if is_known else ())
        assert states(result) == ({} if is_known else {"t-1": "failed"})

    def test_single_record_is_always_parsed(self) -> None:
        """A poll of one task does not compare with the known record."""
        result = read(POLL, self.FIRST, known=(self.FIRST,))

        assert states(result) == {"t-1": "pending"}
        assert result.unchanged == ()

    @pytest.mark.parametrize(
        "body",
        [
            b'{"items":[ {"id": "t-1", "x": [1,  2]} , {"task_id" :"t-2"}\n]}',
            rb'[{"id": "t-1", "request": "cut \ud83d"}, {"id": "t-2", "request": "\\ud83d \ud83d\ude00"}]',
            '{"items":[{"id":"t-1","request":"é😀"},{"id":"t-2"}],"count":2}'.encode(),
        ],
        ids=["spaces", "half a character", "characters"],
    )
    def test_known_record_is_the_raw_of_the_task(self, body: bytes) -> None:
        """The same response again is unchanged compared with `Task.raw`."""
        statuses = read(BATCH_POLL, body).statuses
        known = [statuses[task_id].task.raw for task_id in BATCH_POLL.ids]

        assert read(BATCH_POLL, body, known=known) == PollResponse({}, ("t-1", "t-2"))

    @given(
        records=st.lists(
            st.sampled_from([*UNREADABLE, b"{}", FIRST, SECOND, CHANGED, FOREIGN, b'{"id":"t-2","progress":7}'])
        ),
        more=st.lists(st.sampled_from([FIRST, SECOND, CHANGED, FOREIGN, UNREADABLE[0]])),
    )
    def test_known_records_do_not_change_the_result(self, records: list[bytes], more: list[bytes]) -> None:
        """With and without known records, a response has the same tasks in the same states."""
        before = read(BATCH_POLL, write_batch(*records))
        known = [
            before.statuses[task_id].task.raw if task_id in before.statuses else None for task_id in BATCH_POLL.ids
        ]
        plain = read(BATCH_POLL, write_batch(*more))
        result = read(BATCH_POLL, write_batch(*more), known=known)

        assert result.statuses.keys() | set(result.unchanged) == plain.statuses.keys()
        assert result.statuses.keys().isdisjoint(result.unchanged)
        assert all(before.statuses[task_id] == plain.statuses[task_id] for task_id in result.unchanged)
        assert all(result.statuses[task_id] == plain.statuses[task_id] for task_id in result.statuses)
        assert result.unreadable == plain.unreadable
        again = read(BATCH_POLL, write_batch(*records), known=known)
        assert again == PollResponse({}, tuple(filter(before.statuses.__contains__, BATCH_POLL.ids)), before.unreadable)

    @given(
        ids=st.permutations(["t-1", "t-2", "t-3", "t-4"]),
        known=st.lists(st.sampled_from([None, 0, 1]), min_size=4, max_size=4),
        records=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1)), max_size=9),
    )
    def test_agrees_with_the_simplest_reader(
        self, ids: list[str], known: list[int | None], records: list[tuple[int, int]]
    ) -> None:
        """The result equals one by one reading: the first record counts, changed unless it is the known one."""

        def write(task_id: str, progress: int) -> bytes:
            return b'{"id":"%s","progress":%d}' % (task_id.encode(), progress)

        remembered = [
            None if progress is None else write(task_id, progress) for task_id, progress in zip(ids, known, strict=True)
        ]
        sent = [write(f"t-{number}", progress) for number, progress in records]
        first = {f"t-{number}": write(f"t-{number}", progress) for number, progress in reversed(records)}
        result = read(build_poll(LUMA, ids), write_batch(*sent), known=remembered)

        assert set(result.unchanged) == {
            task_id
            for task_id, own in zip(ids, remembered, strict=True)
            if own is not None and first.get(task_id) == own
        }
        assert {task_id: status.raw for task_id, status in result.statuses.items()} == {
            task_id: record for task_id, record in first.items() if task_id in ids and task_id not in result.unchanged
        }


class TestReadSubmission:
    """`read_submission`: an acknowledgement or the finished task."""

    @pytest.mark.parametrize(
        ("spec", "status", "body"),
        [
            (LUMA, 200, {"task_id": ID}),
            (LUMA, 200, {"success": True, "task_id": ID}),
            (CAPTCHA, 201, {"task_id": ID, "trace_id": TRACE}),
            (lookup("fish"), 200, {"task_id": ID, "started_at": 1787600000.75}),
            (SUNO, 200, {"task_id": ID, "trace_id": TRACE, "data": []}),
            (MINIMAX, 200, {"task_id": ID}),
            (MINIMAX, 200, {"task": {"id": ID, "status": "queued"}}),
            (USEAPI, 200, {"jobid": ID, "status": "created"}),
        ],
        ids=["id", "success", "trace", "started", "empty data", "minimax", "wrapped", "useapi"],
    )
    def test_acknowledgement_is_an_unfinished_task_with_id(
        self, spec: ProviderSpec, status: int, body: dict[str, object]
    ) -> None:
        """An acknowledgement has the id, and none of its fields is taken for a result."""
        task = submitted(spec, body, status, asynchronous=True)

        assert task.id == ID
        assert task.provider == spec.slug
        assert not task.state.is_terminal
        assert task.artifacts == ()

    @pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
    def test_bare_id_is_pending_for_every_provider(self, spec: ProviderSpec) -> None:
        """An id alone is a pending task for every provider."""
        assert submitted(spec, {"task_id": ID}).state is TaskState.PENDING

    @pytest.mark.parametrize(
        ("spec", "body", "task_id", "urls"),
        [
            (
                FLUX,
                {"success": True, "task_id": ID, "trace_id": TRACE, "data": [{"image_url": "https://x.test/1.png"}]},
                ID,
                ["https://x.test/1.png"],
            ),
            (
                VEO,
                {
                    "success": True,
                    "task_id": ID,
                    "trace_id": TRACE,
                    "data": [{"id": "v-1", "video_url": "https://x.test/1.mp4", "state": "succeeded"}],
                },
                ID,
                ["https://x.test/1.mp4"],
            ),
            (
                LUMA,
                {
                    "success": True,
                    "task_id": ID,
                    "video_id": "v-1",
                    "prompt": "a paper boat",
                    "video_url": "https://x.test/1.mp4",
                    "thumbnail_url": "https://x.test/1.jpg",
                    "state": "completed",
                },
                ID,
                ["https://x.test/1.mp4", "https://x.test/1.jpg"],
            ),
            (
                lookup("pixverse"),
                {"success": True, "task_id": ID, "data": [{"video_url": "https://x.test/1.mp4", "first_frame": ""}]},
                ID,
                ["https://x.test/1.mp4"],
            ),
            (
                SUNO,
                {
                    "success": True,
                    "task_id": ID,
                    "data": [
                        {"audio_url": "https://x.test/1.mp3", "state": "succeeded"},
                        {"audio_url": "https://x.test/2.mp3", "state": "succeeded"},
                    ],
                },
                ID,
                ["https://x.test/1.mp3", "https://x.test/2.mp3"],
            ),
            (lookup("fish"), {"audio_url": "https://x.test/1.mp3"}, "", ["https://x.test/1.mp3"]),
            (
                lookup("openai"),
                {"created": 1786500100, "data": [{"url": "https://x.test/1.png"}]},
                "",
                ["https://x.test/1.png"],
            ),
            (
                lookup("midjourney"),
                {"task_id": ID, "image_url": "https://x.test/1.png", "progress": 100},
                ID,
                ["https://x.test/1.png"],
            ),
            (lookup("midjourney"), {"descriptions": ["a paper boat on a lake"]}, "", []),
            (SUNO, {"success": True, "task_id": ID, "data": {"title": "Tide", "text": "salt and rope"}}, ID, []),
            (
                lookup("qrart"),
                {"success": True, "task_id": ID, "image_url": "https://x.test/1.png"},
                ID,
                ["https://x.test/1.png"],
            ),
        ],
        ids=lambda value: value.slug if isinstance(value, ProviderSpec) else "",
    )
    def test_synchronous_response_is_the_finished_task(
        self, spec: ProviderSpec, body: dict[str, object], task_id: str, urls: list[str]
    ) -> None:
        """A response that is the result is a finished task, with or without an id."""
        task = submitted(spec, body)

        assert task.state is TaskState.SUCCEEDED
        assert task.id == task_id
        assert [artifact.url for artifact in task.artifacts] == urls

    def test_whole_record_is_accepted(self) -> None:
        """A response in the form of a task record is read as one."""
        body = {"id": ID, "response": {"success": True, "data": [{"image_url": "https://x.test/1.png"}]}}
        task = submitted(FLUX, body)

        assert (task.id, task.state) == (ID, TaskState.SUCCEEDED)
        assert json.loads(task.raw) == body

    @pytest.mark.parametrize(
        "body",
        [
            {"success": False, "task_id": ID, "error": {"code": "forbidden", "message": "the prompt was refused"}},
            {"id": ID, "response": {"success": False, "error": {"code": "forbidden", "message": "refused"}}},
        ],
    )
    def test_immediate_failure_is_a_failed_task(self, body: dict[str, object]) -> None:
        """A failure with a good status is a failed task with the service's reason."""
        task = submitted(LUMA, body)

        assert (task.id, task.state) == (ID, TaskState.FAILED)
        assert task.error is not None
        assert task.error.code == "forbidden"

    def test_response_is_kept(self) -> None:
        """The response of a synchronous result can be decoded like any other."""
        task = submitted(lookup("fish"), {"audio_url": "https://x.test/1.mp3"})

        assert task.response == {"audio_url": "https://x.test/1.mp3"}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"success": True},
            {"task_id": ""},
            {"task_id": None},
            {"trace_id": TRACE},
            {"status": "queued"},
            "",
            "<html>OK</html>",
            "null",
            "[]",
            '{"task_id":',
            {"items": [], "count": 0},
        ],
    )
    def test_refuses_bodies_without_result_or_id(self, body: object) -> None:
        """A response without result and id raises `ProtocolError`."""
        with pytest.raises(ProtocolError):
            submitted(LUMA, body)

    @pytest.mark.parametrize(
        ("spec", "body"),
        [
            (lookup("webextrator"), {"success": True, "task_id": ID, "data": {"title": "Example", "status": 200}}),
            (lookup("producer"), {"success": True, "task_id": ID, "data": {"lyrics": "la la la"}}),
            (lookup("midjourney"), {"descriptions": ["a boat", "a ship"]}),
        ],
        ids=["webextrator", "producer", "midjourney"],
    )
    def test_result_without_files_is_a_finished_task(self, spec: ProviderSpec, body: dict[str, object]) -> None:
        """A blocking submission may return text only; an acknowledgement with data stays pending."""
        task = submitted(spec, body)

        assert task.state is TaskState.SUCCEEDED
        assert task.response == body
        if "task_id" in body:
            assert submitted(spec, body, asynchronous=True).state is TaskState.PENDING

    @pytest.mark.parametrize(
        "data", [{"title": "Example"}, {"persona_id": "p"}, [{"text": "la", "status": "complete"}]]
    )
    @pytest.mark.parametrize("asynchronous", [True, False])
    def test_finish_time_is_the_end(self, data: object, asynchronous: bool) -> None:  # noqa: FBT001  # a column
        """An acknowledgement has no `finished_at`, so a response with one is final (suno's lyrics, kling's voices)."""
        body = {"task_id": ID, "data": data, "started_at": 1787600000.0, "finished_at": 1787600060.0}
        task = submitted(SUNO, body, asynchronous=asynchronous)

        assert (task.state, task.finished_at, task.duration) == (TaskState.SUCCEEDED, 1787600060.0, 60.0)
        assert task.id == ID

    def test_acknowledgement_with_data_has_no_end(self) -> None:
        """A task that seems finished without a file and a finish time is pending, without an end time."""
        body = {"task_id": ID, "state": "done", "data": {"title": "Example"}, "started_at": 1787600000.0, "elapsed": 6}
        assert submitted(SUNO, body).state is TaskState.SUCCEEDED

        task = submitted(SUNO, body, asynchronous=True)
        assert (task.id, task.state, task.finished_at, task.duration) == (ID, TaskState.PENDING, None, None)

    @pytest.mark.parametrize("data", [None, [], {}])
    def test_acknowledgement_with_empty_data_has_no_end(self, data: object) -> None:
        """A done word without a result is that of the submission, not of the task."""
        body = {"task_id": ID, "success": True, "status": "success", "data": data}
        assert submitted(SUNO, body).state is TaskState.FAILED

        for times in ({}, {"finished_at": 1787600060.0}):
            task = submitted(SUNO, body | times, asynchronous=True)
            assert (task.id, task.state, task.error, task.finished_at) == (ID, TaskState.PENDING, None, None)

    @pytest.mark.parametrize(
        ("slug", "body"),
        [
            ("midjourney", {"prompts": ["a", "b"], "started_at": 5, "finished_at": 6, "elapsed": 1, "cost": {}}),
            ("suno", {"success": True, "data": {"id": "project", "name": "Tides", "version": 2}}),
            ("suno", {"success": True, "data": [{"model": "mine"}], "started_at": 5, "finished_at": 6}),
            ("fish", {"task_id": "", "success": True, "audio_url": "https://x.test/1.mp3"}),
        ],
    )
    def test_result_without_id_is_a_finished_task(self, slug: str, body: dict[str, object]) -> None:
        """Some paths (midjourney/shorten, suno/projects) ignore `async: true`; their response is paid for."""
        task = submitted(lookup(slug), body, asynchronous=True)

        assert (task.id, task.state, task.response) == ("", TaskState.SUCCEEDED, body)

    @pytest.mark.parametrize(
        "body",
        [
            {"success": True, "status": "success"},
            {"success": True, "data": {"task_id": ID}},
            {"success": True, "data": [{"taskId": ID}]},
            {"success": True, "job_id": ID},
            {"status": "queued", "position": 3},
            {"message": "ok", "host": "proxy"},
        ],
    )
    def test_asynchronous_response_without_result_and_id_is_refused(self, body: dict[str, object]) -> None:
        """A state word, an id in an undocumented place or the body of a proxy is not a result."""
        with pytest.raises(ProtocolError, match="no task id"):
            submitted(SUNO, body, asynchronous=True)

    def test_error_has_provider_and_excerpt(self) -> None:
        """The error names the provider and has the beginning of the body."""
        with pytest.raises(ProtocolError, match="luma: the response to a submission has no task id") as caught:
            submitted(LUMA, {})

        assert caught.value.excerpt == "{}"

    @given(
        spec=st.sampled_from([FLUX, LUMA, SUNO, CAPTCHA, MINIMAX, USEAPI]),
        payload=st.sampled_from([{}, {"async": False}]),
        status=st.integers(200, 299),
        body=st.binary(max_size=300)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "task_id",
                    "jobid",
                    "success",
                    "status",
                    "state",
                    "data",
                    "error",
                    "response",
                    "task",
                    "progress",
                ]
            ),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["", "x", "failed", "done"]),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["code", "state", "data", "image_url"]), inner, max_size=3)
                ),
                max_leaves=6,
            ),
            max_size=5,
        ).map(msgspec.json.encode),
    )
    @example(spec=FLUX, payload={"async": False}, status=200, body=b'{"response":1,"text":1e400}')
    @example(spec=FLUX, payload={"async": False}, status=200, body=b'{"response":1,"text":"\xff"}')
    def test_any_body_is_a_task_or_a_known_error(
        self, spec: ProviderSpec, payload: dict[str, object], status: int, body: bytes
    ) -> None:
        """Any body is a finished task, a task with an id, or a `ProtocolError`."""
        try:
            task = read_submission(spec, build_submission(spec, payload), Response(status=status, body=body))
        except ProtocolError:
            return
        assert task.id or (task.state.is_terminal and task.state is not TaskState.NOT_FOUND)

    @pytest.mark.parametrize(
        "key", ["progress", "created_at", "started_at", "finished_at", "elapsed", "status", "code"]
    )
    @pytest.mark.parametrize("number", [b"1" + b"0" * 400, b"-1" + b"0" * 400, b"1e400", b"1" + b"0" * 5000])
    @pytest.mark.parametrize("rest", [b"", b',"data":[{"image_url":"https://x.test/1.png"}]'], ids=["ack", "result"])
    def test_huge_numbers_are_ignored_or_refused(self, key: str, number: bytes, rest: bytes) -> None:
        """A number that exceeds a float is ignored or refused."""
        body = b'{"task_id":"t-1","%s":%s%s}' % (key.encode(), number, rest)
        try:
            task = read_submission(FLUX, build_submission(FLUX, {}), Response(status=200, body=body))
        except ProtocolError:
            return
        assert task.id == "t-1"

    def test_excessive_nesting_is_refused(self) -> None:
        """A body with too much nesting is refused."""
        body = b'{"task_id":"t-1","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

        with pytest.raises(ProtocolError):
            read_submission(FLUX, build_submission(FLUX, {}), Response(status=200, body=body))
