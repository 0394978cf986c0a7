"""Answers: from every one either records, a task or a documented error."""

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
    answers,
)
from acetasks._records import ECHO_LIMIT
from acetasks.answers import Look, read_failure, read_look, read_submission
from acetasks.providers import ProviderSpec, Reading, lookup, read_record, specs
from acetasks.wire import Request, Response, build_look, build_submission

if TYPE_CHECKING:
    from collections.abc import Sequence

FLUX, LUMA, VEO, SUNO = lookup("flux"), lookup("luma"), lookup("veo"), lookup("suno")
CAPTCHA, DIGITAL_HUMAN, MAESTRO = lookup("captcha"), lookup("digital-human"), lookup("maestro")
MINIMAX, USEAPI = lookup("minimax"), lookup("useapi-pixverse")

#: A look at one task and at two, and a submission: what answers are read for.
LOOK, BATCH_LOOK = build_look(LUMA, ["t-1"]), build_look(LUMA, ["t-1", "t-2"])
SUBMISSION = build_submission(LUMA, {"prompt": "a paper boat"})


def answer(status: int, body: object) -> Response:
    """Make an answer of an object, a text or bytes."""
    if isinstance(body, str):
        body = body.encode()
    return Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def fail(request: Request, status: int, body: object, retry_after: float | None = None) -> APIError:
    """Read an answer that is an error of the service's own."""
    failure = read_failure(request, answer(status, body), retry_after)
    assert isinstance(failure, APIError)
    return failure


TRACE = "140a49e3-68b6-55ea-b964-770b7226e4a9"


def documented(code: str, message: str = "said the service") -> dict[str, object]:
    """Write an error body in the usual shape."""
    return {"success": False, "error": {"code": code, "message": message}, "trace_id": TRACE}


class TestReadFailure:
    """`read_failure`: the error that an answer is, by the service's code first and then by the status."""

    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_a_good_status_is_no_failure(self, status: int) -> None:
        """What a body says with a good status is for its reader to find."""
        assert read_failure(LOOK, answer(status, documented("api_error")), 5.0) is None

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
    @pytest.mark.parametrize("request_", [LOOK, BATCH_LOOK, SUBMISSION], ids=["look", "batch", "submission"])
    def test_reads_the_documented_errors(self, request_: Request, status: int, code: str, kind: type[APIError]) -> None:
        """Each code of the service's error tables is its kind of error, with all that the service said."""
        error = fail(request_, status, documented(code), retry_after=7.5)

        assert type(error) is kind
        assert (error.status, error.code, error.trace_id) == (status, code, TRACE)
        assert error.retry_after == 7.5
        assert (error.provider, error.message) == ("luma", "said the service")
        assert str(error) == f"luma: HTTP {status} {code}: said the service (trace id {TRACE})"

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
    def test_the_code_goes_before_the_status(self, status: int, code: str, kind: type[APIError]) -> None:
        """A gateway may put any status before a code that says it all."""
        assert type(fail(LOOK, status, documented(code))) is kind

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
    def test_the_status_decides_without_a_known_code(self, status: int, kind: type[APIError], body: object) -> None:
        """An undocumented code, or none, leaves the decision to the status."""
        error = fail(LOOK, status, body)

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
    def test_reads_every_shape(self, body: object, code: str | None, message: str, trace_id: str | None) -> None:
        """The code, message and trace id are found wherever the services put them; else the body is shown."""
        error = fail(LOOK, 503, body)

        assert (error.code, error.message, error.trace_id) == (code, message, trace_id)

    def test_keeps_minimaxs_request_id(self) -> None:
        """What minimax calls `request_id` is what others call `trace_id`: the id to quote to its support."""
        error = fail(
            build_look(MINIMAX, ["t-1"]),
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
    def test_foreign_text_is_cut(self, body: object) -> None:
        """No error repeats more than 256 characters of what the service said."""
        error = fail(LOOK, 500, body)

        assert len(error.message) == ECHO_LIMIT == 256
        assert str(error) == f"luma: HTTP 500: {error.message}"

    @pytest.mark.parametrize("key", ["code", "trace_id"])
    def test_a_code_without_end_is_cut(self, key: str) -> None:
        """A code or trace id is foreign text, too."""
        error = fail(LOOK, 500, {key: "x" * 10_000, "message": "try later"})

        assert len(str(error)) < 1000

    @pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
    @pytest.mark.parametrize("request_", [LOOK, SUBMISSION], ids=["look", "submission"])
    def test_a_redirect_is_not_followed(self, request_: Request, status: int) -> None:
        """A redirect is an error that says why and what to check."""
        error = fail(request_, status, "")

        assert type(error) is BadRequestError
        assert error.status == status
        assert "redirects are not followed with the token: check the base URL" in str(error)

    def test_only_redirects_have_the_hint(self) -> None:
        """Other errors do not speak of redirects."""
        assert "redirect" not in str(fail(LOOK, 400, ""))

    @pytest.mark.parametrize("request_", [LOOK, BATCH_LOOK], ids=["look", "batch"])
    def test_a_path_that_does_not_exist_is_a_provider_that_does_not(self, request_: Request) -> None:
        """The code `no_api` on a tasks call says that the service has no such provider."""
        failure = read_failure(request_, answer(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.provider == "luma"

    def test_a_provider_that_does_not_exist_may_be_a_misspelt_one(self) -> None:
        """The error names the provider that was most likely meant."""
        failure = read_failure(build_look(lookup("lumma"), ["t-1"]), answer(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.suggestion == "luma"
        assert "unknown provider 'lumma'; did you mean 'luma'?" in str(failure)

    def test_a_provider_is_not_suggested_for_itself(self) -> None:
        """Where the service has dropped a provider that has a row, its own name is no help."""
        failure = read_failure(LOOK, answer(404, documented("no_api")), None)

        assert isinstance(failure, UnknownProviderError)
        assert failure.suggestion != "luma"
        assert "did you mean 'luma'" not in str(failure)

    def test_a_submission_to_a_path_that_does_not_exist_is_a_bad_request(self) -> None:
        """There the path may be the caller's own: it does not mean the provider."""
        error = fail(SUBMISSION, 404, documented("no_api"))

        assert type(error) is BadRequestError
        assert error.code == "no_api"

    @pytest.mark.parametrize(
        ("spec", "status", "body"),
        [
            (CAPTCHA, 404, {"success": False, "error": {"code": "not_found", "message": "task not found"}}),
            (DIGITAL_HUMAN, 404, {"error": {"code": "no_task", "message": "gone"}, "trace_id": TRACE}),
            (MAESTRO, 404, {"detail": "task not found"}),
            (LUMA, 404, {"error": {"message": "Task does not exist"}}),
            (USEAPI, 404, {"error": "Unable to locate job 7", "code": 404}),
            (USEAPI, 410, {"error": "Job has expired", "code": 410}),
            (CAPTCHA, 504, {"task_id": "t-1", "success": False, "code": "timeout", "detail": "timed out"}),
        ],
        ids=["not_found", "no_task", "detail", "message", "job", "expired", "captcha's timeout"],
    )
    def test_news_of_the_task_is_no_failure(self, spec: ProviderSpec, status: int, body: dict[str, object]) -> None:
        """A status that speaks of the task itself is left to the reader of its record."""
        assert read_failure(build_look(spec, ["t-1"]), answer(status, body), None) is None

    @pytest.mark.parametrize(("status", "kind"), [(404, BadRequestError), (410, BadRequestError), (504, ServiceError)])
    def test_a_submission_has_no_task_to_speak_of(self, status: int, kind: type[APIError]) -> None:
        """The same answers to a submission are errors of it."""
        for spec in (CAPTCHA, USEAPI):
            request = build_submission(spec, {})
            assert type(fail(request, status, {"error": {"code": "no_task", "message": "task not found"}})) is kind

    @pytest.mark.parametrize("body", [{"error": {"code": "no_task"}}, {"detail": "task not found"}])
    def test_a_batch_has_no_one_task_to_speak_of(self, body: dict[str, object]) -> None:
        """A 404 that names a task is an error of a batch, which can be split until that task is alone."""
        assert type(fail(build_look(DIGITAL_HUMAN, ["t-1", "t-2"]), 404, body)) is BadRequestError

    @pytest.mark.parametrize(
        "body", ["", "<html>404</html>", {"detail": "Not Found"}, documented("no_route"), {"error": "Not Found"}]
    )
    def test_a_404_that_names_no_task_is_a_bad_request(self, body: object) -> None:
        """A gateway's own 404 must not be taken for a task that is gone."""
        assert type(fail(LOOK, 404, body)) is BadRequestError

    @given(
        status=st.integers(300, 599),
        body=st.binary(max_size=300),
        request_=st.sampled_from([LOOK, BATCH_LOOK, SUBMISSION]),
        retry_after=st.none() | st.floats(0, 1e6),
    )
    @example(status=500, body=b'{"code":1' + b"0" * 400 + b"}", request_=LOOK, retry_after=None)
    @example(status=500, body=b'{"error":' * 100_000, request_=LOOK, retry_after=None)
    def test_every_answer_is_an_error_of_this_library_or_none(
        self, status: int, body: bytes, request_: Request, retry_after: float | None
    ) -> None:
        """Whatever bytes come with whatever status, nothing else is made of them, and little of them is repeated."""
        failure = read_failure(request_, Response(status=status, body=body), retry_after)

        if isinstance(failure, APIError):
            assert (failure.status, failure.retry_after) == (status, retry_after)
            assert 0 < len(failure.message) <= ECHO_LIMIT
        else:
            assert failure is None or isinstance(failure, UnknownProviderError)


def read(request: Request, body: object, status: int = 200, known: Sequence[bytes | None] = ()) -> Look:
    """Read an answer to a look at luma's tasks."""
    return read_look(LUMA, request, answer(status, body), known)


def states(look: Look) -> dict[str, str]:
    """Tell the state of each task that a look has seen."""
    assert all(reading.task.id == task_id for task_id, reading in look.readings.items())
    return {task_id: reading.task.state.value for task_id, reading in look.readings.items()}


#: Records that are whole and that nobody can read.
UNREADABLE = [b'{"id":"t-1","progress":1e999}', b"7", b"null", b"[]", b'"t-1"', b'{"items":[]}']


class TestReadSingleLook:
    """`read_look` of one task: the body is its record."""

    @pytest.mark.parametrize("body", [{"id": "t-1"}, {"task": {"id": "t-1"}}, {"state": "queued"}, {"task_id": "t-1"}])
    def test_the_body_is_the_record(self, body: dict[str, object]) -> None:
        """Bare or wrapped, with or without its id, the record is that of the task that was asked for."""
        look = read(LOOK, body)

        assert states(look) == {"t-1": "pending"}
        assert look.unread == 0

    def test_reads_the_record_to_its_end(self) -> None:
        """What the look gives is the task itself, with what it made and how sure that is."""
        look = read(LOOK, {"id": "t-1", "response": {"success": True, "video_url": "https://x.test/1.mp4"}})
        reading = look.readings["t-1"]

        assert reading.task.state is TaskState.SUCCEEDED
        assert [artifact.url for artifact in reading.task.artifacts] == ["https://x.test/1.mp4"]
        assert reading.unconfirmed is False
        assert read(LOOK, {"id": "t-1", "response": {"success": False}}).readings["t-1"].unconfirmed is True
        assert read(LOOK, {"id": "t-1", "state": "made_up"}).readings["t-1"].unknown_word == "made_up"

    def test_an_empty_object_is_a_task_that_is_not_known(self) -> None:
        """The service says so of ids that it has never seen, or not yet."""
        assert states(read(LOOK, {})) == {"t-1": "not_found"}

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
    def test_a_status_may_be_news_of_the_task(
        self, spec: ProviderSpec, status: int, body: dict[str, object], state: str
    ) -> None:
        """An HTTP error that `read_failure` has left as the task's own is read as such."""
        request = build_look(spec, ["t-1"])

        assert read_failure(request, answer(status, body), None) is None
        assert states(read_look(spec, request, answer(status, body))) == {"t-1": state}

    def test_a_status_without_news_is_refused(self) -> None:
        """Where the status speaks of the task and the body does not, asking again may help."""
        with pytest.raises(ProtocolError, match="an HTTP 504 answer says nothing of a task") as caught:
            read_look(CAPTCHA, build_look(CAPTCHA, ["t-1"]), answer(504, {"success": True}))

        assert caught.value.transient is True

    @pytest.mark.parametrize(
        ("code", "kind"),
        [("invalid_token", AuthenticationError), ("used_up", PermissionDeniedError), ("busy", ServiceError)],
    )
    @pytest.mark.parametrize("status", [200, 201])
    def test_an_error_of_the_request_is_raised(self, status: int, code: str, kind: type[APIError]) -> None:
        """With a good status and no task named, a code of the request's is no failure of the task."""
        error = {"code": code, "message": "no"}
        with pytest.raises(kind, match=f"luma: HTTP {status} {code}: no") as caught:
            read(LOOK, {"error": error, "trace_id": "x"}, status)

        assert type(caught.value) is kind
        assert states(read(LOOK, {"task_id": "t-1", "success": False, "error": error})) == {"t-1": "failed"}
        assert states(read(LOOK, {"id": "t-1", "error": error})) == {"t-1": "failed"}

    def test_any_other_error_is_the_tasks(self) -> None:
        """A code that no request has says how the task ended."""
        assert states(read(LOOK, {"error": {"code": "made_up", "message": "no"}})) == {"t-1": "failed"}

    @pytest.mark.parametrize(
        ("body", "transient"),
        [
            ("", True),
            ("<html>Bad Gateway</html>", True),
            ('{"id":"t-1",', True),
            (b"\xff", True),
            ({"items": [], "count": 0}, True),
            *((body, False) for body in UNREADABLE[:-1]),
            (b'{"id":"t-1","response":{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", False),
            (b'{"task":' * 100 + b'{"id":"t-1"}' + b"}" * 100, False),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_what_is_no_record_is_refused(self, body: object, transient: bool) -> None:  # noqa: FBT001  # a column
        """What may have been cut short is worth asking for again; what is whole and unreadable stays so."""
        with pytest.raises(ProtocolError) as caught:
            read(LOOK, body)

        assert caught.value.transient is transient


class TestReadBatchLook:
    """`read_look` of several tasks: as many records as the service chose to send."""

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
    def test_reads_each_record_under_its_id(self, body: object) -> None:
        """The records stand in `items`, or are the whole; their order and what counts them do not matter."""
        look = read(BATCH_LOOK, body)

        assert states(look) == {"t-1": "pending", "t-2": "pending"}
        assert look.unread == 0

    @pytest.mark.parametrize("body", [{"items": [], "count": 0}, []])
    def test_an_empty_batch_is_an_answer(self, body: object) -> None:
        """The service may know none of the ids."""
        assert read(BATCH_LOOK, body) == Look({})

    def test_passes_over_what_was_not_asked_for(self) -> None:
        """Records of others, or of nobody, are not unreadable: it is known that they are no news."""
        look = read(BATCH_LOOK, {"items": [{"id": "t-3"}, {}, {"id": "t-2"}, {"state": "failed"}, {"id": ""}]})

        assert states(look) == {"t-2": "pending"}
        assert look.unread == 0

    def test_the_first_record_of_a_task_counts(self) -> None:
        """A service that repeats itself may contradict itself: the newest comes first."""
        assert states(read(BATCH_LOOK, [{"id": "t-1", "state": "failed"}, {"id": "t-1"}])) == {"t-1": "failed"}

    @pytest.mark.parametrize("odd", UNREADABLE)
    def test_counts_what_it_cannot_read(self, odd: bytes) -> None:
        """A record that cannot be read costs only itself; whose it is is not known, so it is counted."""
        look = read(BATCH_LOOK, b'{"items":[%s,{"id":"t-2"},%s]}' % (odd, odd))

        assert states(look) == {"t-2": "pending"}
        assert look.unread == 2

    def test_a_batch_of_nothing_but_oddities_is_still_an_answer(self) -> None:
        """That there were records is news, though none can be read."""
        assert read(BATCH_LOOK, b'{"items":[%s]}' % b",".join(UNREADABLE)) == Look({}, unread=len(UNREADABLE))

    def test_half_a_character_in_one_record_costs_nothing(self) -> None:
        """A prompt cut inside an emoji is mended; an escaped backslash before such letters is not touched."""
        body = rb'{"items": [{"id": "t-1", "request": "cut \ud83d"}, {"id": "t-2", "request": "\\ud83d \ud83d\ude00"}]}'
        look = read(BATCH_LOOK, body)
        prompts = [json.loads(look.readings[task_id].task.raw)["request"] for task_id in ("t-1", "t-2")]

        assert prompts == ["cut \ufffd", "\\ud83d \U0001f600"]
        assert look.unread == 0

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("invalid_token", AuthenticationError),
            ("used_up", PermissionDeniedError),
            ("too_many_requests", RateLimitError),
            ("api_error", ServiceError),
        ],
    )
    def test_an_error_with_a_good_status_is_an_error(self, code: str, kind: type[APIError]) -> None:
        """A body that is an error counts as one whatever its status."""
        with pytest.raises(APIError) as caught:
            read(BATCH_LOOK, documented(code))

        error = caught.value
        assert type(error) is kind
        assert (error.status, error.code, error.trace_id) == (200, code, TRACE)
        assert "said the service" in str(error)

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "<html>Bad Gateway</html>",
            '{"items":[{"id":"t-1"},',
            '{"items":7}',
            '{"items":{"id":"t-1"}}',
            '{"items":null}',
            "{}",
            "null",
            "7",
            '"items"',
            {"error": "odd"},
            documented("made_up"),
            b"\xff",
        ],
    )
    def test_what_is_no_batch_is_refused(self, body: object) -> None:
        """Where no answer can be made out, the error shows the beginning of what came, and asking again may help."""
        with pytest.raises(ProtocolError, match="luma: a batch answer") as caught:
            read(BATCH_LOOK, body)

        assert caught.value.transient is True
        shown = body if isinstance(body, str) else json.dumps(body) if isinstance(body, dict) else "\ufffd"
        assert caught.value.excerpt == shown

    def test_what_is_shown_is_cut(self) -> None:
        """A page of HTML is not repeated in full."""
        with pytest.raises(ProtocolError) as caught:
            read(BATCH_LOOK, "<html>" + "x" * 10_000)

        assert len(caught.value.excerpt) == ECHO_LIMIT

    def test_nesting_without_end_is_some_records_fault(self) -> None:
        """An answer that is whole and nested too deep stays so: asking for the same again does not help."""
        with pytest.raises(ProtocolError, match="luma: a batch answer cannot be read") as caught:
            read(BATCH_LOOK, b'{"items":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}")

        assert caught.value.transient is False

    @given(
        body=st.binary(max_size=300)
        | st.lists(
            st.sampled_from([*UNREADABLE, b"{}", b'{"id":"t-1"}', b'{"id":"t-2","state":"failed"}', b'{"id":"t-3"}'])
        ).map(lambda records: b'{"items":[%s]}' % b",".join(records)),
        request_=st.sampled_from([LOOK, BATCH_LOOK]),
    )
    @example(body=b'{"items":[' + b"[" * 100_000, request_=BATCH_LOOK)
    @example(body=b'{"items":[{"x":1' + b"0" * 5000 + b"}]}", request_=BATCH_LOOK)
    def test_every_body_is_a_look_or_a_documented_error(self, body: bytes, request_: Request) -> None:
        """Whatever bytes come, they are news of nobody but those who were asked for, or an error of this library."""
        try:
            look = read_look(LUMA, request_, Response(status=200, body=body))
        except (ProtocolError, APIError):
            return
        assert states(look).keys() <= set(request_.ids)
        assert look.unread >= 0


ID = "5c231f52-1293-5d1a-ac7c-886a0ed3e9a3"


def submitted(spec: ProviderSpec, body: object, status: int = 200, *, asynchronous: bool = False) -> Task:
    """Read the answer to a submission."""
    request = build_submission(spec, {"async": asynchronous}, "/any/path")
    return read_submission(spec, request, answer(status, body))


def write_batch(*records: bytes) -> bytes:
    """Write a batch answer."""
    return b'{"items":[%s]}' % b",".join(records)


class TestKnownRecords:
    """`read_look` of several tasks some of whose records are known: what has not changed is not read again."""

    FIRST, SECOND, THIRD = b'{"id":"t-1"}', b'{"id":"t-2"}', b'{"id":"t-3"}'
    CHANGED = b'{"id":"t-1","state":"failed"}'
    STRANGER = b'{"id":"t-9"}'

    def test_a_known_record_is_unchanged(self) -> None:
        """Its task is told apart from those that there is news of."""
        look = read(BATCH_LOOK, write_batch(self.FIRST, self.SECOND), known=(self.FIRST, None))

        assert set(look.unchanged) == {"t-1"}
        assert states(look) == {"t-2": "pending"}
        assert look.unread == 0

    @pytest.mark.parametrize("records", [(FIRST, SECOND), (SECOND, FIRST)], ids=["as asked", "another order"])
    def test_all_may_be_known(self, records: tuple[bytes, ...]) -> None:
        """Most looks bring nothing new, in whatever order."""
        look = read(BATCH_LOOK, write_batch(*records), known=(self.FIRST, self.SECOND))

        assert look == Look({}, ("t-1", "t-2"))

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_a_known_record_is_its_tasks_in_any_place(self, order: tuple[int, ...]) -> None:
        """One that stands where another was asked for says nothing of that one."""
        records = [self.CHANGED, self.SECOND, self.THIRD]
        answer_ = write_batch(*(records[place] for place in order))
        look = read(build_look(LUMA, ["t-1", "t-2", "t-3"]), answer_, known=(self.FIRST, self.SECOND, self.THIRD))

        assert set(look.unchanged) == {"t-2", "t-3"}
        assert states(look) == {"t-1": "failed"}

    @pytest.mark.parametrize("odd", UNREADABLE)
    @pytest.mark.parametrize("is_in_place", [True, False])
    def test_a_known_record_is_not_read(self, odd: bytes, is_in_place: bool) -> None:  # noqa: FBT001  # a column
        """Not even whether it can be read is looked at again."""
        records = (odd, self.SECOND) if is_in_place else (self.SECOND, odd)
        look = read(BATCH_LOOK, write_batch(*records), known=(odd, None))

        assert set(look.unchanged) == {"t-1"}
        assert states(look) == {"t-2": "pending"}
        assert look.unread == 0

    @pytest.mark.parametrize("step", [1, -1], ids=["as asked", "another order"])
    def test_only_what_is_new_is_read(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        """Of fifty records of which one has changed, one is read."""
        records = {f"t-{number}": b'{"id":"t-%d"}' % number for number in range(50)}
        known = list(records.values())
        records["t-7"] = b'{"id":"t-7","state":"failed"}'
        were_read = []

        def count(spec: ProviderSpec, record: bytes) -> Reading:
            were_read.append(bytes(record))
            return read_record(spec, record)

        monkeypatch.setattr(answers, "read_record", count)
        look = read(build_look(LUMA, list(records)), write_batch(*list(records.values())[::step]), known=known)

        # In another order it takes the first of the answer to tell so.
        assert were_read == ([records["t-7"]] if step > 0 else [records["t-49"], records["t-7"]])
        assert states(look) == {"t-7": "failed"}
        assert set(look.unchanged) == records.keys() - {"t-7"}

    @pytest.mark.parametrize(
        ("odd", "unchanged", "unread"),
        [
            (b'{"id":"t-9","state":"failed"}', ("t-1", "t-2"), 0),
            (b'{"id":"t-2","state":"failed"}', ("t-1", "t-2"), 0),
            (b"[]", ("t-1", "t-2"), 1),
        ],
        ids=["a stranger's", "another's again", "no record"],
    )
    def test_something_odd_in_the_place_of_one_does_not_touch_the_others(
        self, odd: bytes, unchanged: tuple[str, ...], unread: int
    ) -> None:
        """Where the others are as they were, it is news of none of them, nor of the one that stood there."""
        request_ = build_look(LUMA, ["t-1", "t-2", "t-3"])
        known = (self.FIRST, self.SECOND, self.THIRD)
        look = read(request_, write_batch(self.FIRST, self.SECOND, self.THIRD), known=known)
        assert look == Look({}, ("t-1", "t-2", "t-3"))
        look = read(request_, write_batch(self.FIRST, self.SECOND, odd), known=known)

        assert (look.unchanged, look.readings, look.unread) == (unchanged, {}, unread)

    @pytest.mark.parametrize("record", [b'{"id": "t-1"}', b'{"id":"t-1","state":"failed"}', b'{"id":"t-1","x":1}'])
    def test_any_other_bytes_are_news(self, record: bytes) -> None:
        """Whether the difference means anything shows when the record is read."""
        look = read(BATCH_LOOK, write_batch(record), known=(self.FIRST, None))

        assert look.readings.keys() == {"t-1"}
        assert look.unchanged == ()

    @pytest.mark.parametrize("known", [(), (None, None), [None, None]])
    def test_nothing_may_be_known(self, known: Sequence[bytes | None]) -> None:
        """Then every record is news."""
        look = read(BATCH_LOOK, write_batch(self.FIRST, self.SECOND), known=known)

        assert states(look) == {"t-1": "pending", "t-2": "pending"}
        assert look.unchanged == ()

    def test_what_is_left_out_is_not_unchanged(self) -> None:
        """That a record is known says nothing of a task that the answer does not have."""
        look = read(BATCH_LOOK, write_batch(self.SECOND), known=(self.FIRST, self.SECOND))

        assert look == Look({}, ("t-2",))

    @pytest.mark.parametrize(
        ("records", "unchanged", "news"),
        [
            ((), "", ""),
            ((FIRST,), "t-1", ""),
            ((SECOND, THIRD), "t-2 t-3", ""),
            ((FIRST, THIRD), "t-1 t-3", ""),
            ((CHANGED, THIRD), "t-3", "t-1"),
            ((FIRST, SECOND, THIRD, FIRST, CHANGED), "t-1 t-2 t-3", ""),
            ((STRANGER, FIRST, SECOND, THIRD), "t-1 t-2 t-3", ""),
            ((FIRST, STRANGER, CHANGED, SECOND, STRANGER, THIRD), "t-1 t-2 t-3", ""),
            ((SECOND, SECOND, SECOND, SECOND, CHANGED), "t-2", "t-1"),
        ],
    )
    def test_records_may_be_fewer_or_more_than_were_asked_for(
        self, records: tuple[bytes, ...], unchanged: str, news: str
    ) -> None:
        """Those that are left out are in neither part; what is there too often, or nobody's, adds nothing."""
        request = build_look(LUMA, ["t-1", "t-2", "t-3"])
        look = read(request, write_batch(*records), known=(self.FIRST, self.SECOND, self.THIRD))

        assert set(look.unchanged) == set(unchanged.split())
        assert look.readings.keys() == set(news.split())
        assert look.unread == 0

    def test_a_record_of_a_task_that_was_not_asked_for_is_passed_over(self) -> None:
        """A stranger's record is no news, wherever it stands, and it counts where it cannot be read."""
        for records in itertools.permutations((self.STRANGER, UNREADABLE[0], self.SECOND)):
            look = read(BATCH_LOOK, write_batch(*records), known=(self.FIRST, None))

            assert states(look) == {"t-2": "pending"}
            assert look.unchanged == ()
            assert look.unread == 1

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
    def test_the_first_record_of_a_task_counts_known_or_not(
        self,
        records: list[bytes],
        is_known: bool,  # noqa: FBT001  # a column
        place: int,
    ) -> None:
        """A task is news or unchanged, never both, and a service that repeats itself makes no news at each look.

        It may be the first, a later or the last of those that were asked for.
        """
        ids = [f"o-{number}" for number in range(6)]
        ids[place] = "t-1"
        known: list[bytes | None] = [None] * 6
        known[place] = self.FIRST
        look = read(build_look(LUMA, ids), write_batch(*records), known=known)

        assert look.unchanged == (("t-1",) if is_known else ())
        assert states(look) == ({} if is_known else {"t-1": "failed"})

    def test_a_single_record_is_always_read(self) -> None:
        """Where one task is asked for, nothing is saved."""
        look = read(LOOK, self.FIRST, known=(self.FIRST,))

        assert states(look) == {"t-1": "pending"}
        assert look.unchanged == ()

    @pytest.mark.parametrize(
        "body",
        [
            b'{"items":[ {"id": "t-1", "x": [1,  2]} , {"task_id" :"t-2"}\n]}',
            rb'[{"id": "t-1", "request": "cut \ud83d"}, {"id": "t-2", "request": "\\ud83d \ud83d\ude00"}]',
            '{"items":[{"id":"t-1","request":"é😀"},{"id":"t-2"}],"count":2}'.encode(),
        ],
        ids=["spaces", "half a character", "characters"],
    )
    def test_a_record_is_known_by_what_the_task_keeps(self, body: bytes) -> None:
        """The same answer again has nothing new, for a task keeps its record as it came."""
        readings = read(BATCH_LOOK, body).readings
        known = [readings[task_id].task.raw for task_id in BATCH_LOOK.ids]

        assert read(BATCH_LOOK, body, known=known) == Look({}, ("t-1", "t-2"))

    @given(
        records=st.lists(
            st.sampled_from([*UNREADABLE, b"{}", FIRST, SECOND, CHANGED, STRANGER, b'{"id":"t-2","progress":7}'])
        ),
        more=st.lists(st.sampled_from([FIRST, SECOND, CHANGED, STRANGER, UNREADABLE[0]])),
    )
    def test_what_is_known_changes_nothing_but_the_work(self, records: list[bytes], more: list[bytes]) -> None:
        """With and without it an answer has the same tasks, and those that are unchanged are as they were."""
        before = read(BATCH_LOOK, write_batch(*records))
        known = [
            before.readings[task_id].task.raw if task_id in before.readings else None for task_id in BATCH_LOOK.ids
        ]
        plain = read(BATCH_LOOK, write_batch(*more))
        look = read(BATCH_LOOK, write_batch(*more), known=known)

        assert look.readings.keys() | set(look.unchanged) == plain.readings.keys()
        assert look.readings.keys().isdisjoint(look.unchanged)
        assert all(before.readings[task_id] == plain.readings[task_id] for task_id in look.unchanged)
        assert all(look.readings[task_id] == plain.readings[task_id] for task_id in look.readings)
        assert look.unread == plain.unread
        again = read(BATCH_LOOK, write_batch(*records), known=known)
        assert again == Look({}, tuple(filter(before.readings.__contains__, BATCH_LOOK.ids)), before.unread)

    @given(
        ids=st.permutations(["t-1", "t-2", "t-3", "t-4"]),
        known=st.lists(st.sampled_from([None, 0, 1]), min_size=4, max_size=4),
        records=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1)), max_size=9),
    )
    def test_every_answer_is_read_as_the_simplest_reader_would(
        self, ids: list[str], known: list[int | None], records: list[tuple[int, int]]
    ) -> None:
        """One after the other: the first of each task counts, and is news unless it is the one that is known."""

        def write(task_id: str, progress: int) -> bytes:
            return b'{"id":"%s","progress":%d}' % (task_id.encode(), progress)

        remembered = [
            None if progress is None else write(task_id, progress) for task_id, progress in zip(ids, known, strict=True)
        ]
        sent = [write(f"t-{number}", progress) for number, progress in records]
        first = {f"t-{number}": write(f"t-{number}", progress) for number, progress in reversed(records)}
        look = read(build_look(LUMA, ids), write_batch(*sent), known=remembered)

        assert set(look.unchanged) == {
            task_id
            for task_id, own in zip(ids, remembered, strict=True)
            if own is not None and first.get(task_id) == own
        }
        assert {task_id: reading.raw for task_id, reading in look.readings.items()} == {
            task_id: record for task_id, record in first.items() if task_id in ids and task_id not in look.unchanged
        }


class TestReadSubmission:
    """`read_submission`: an ack, or the finished task itself."""

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
    def test_an_ack_is_a_task_that_has_an_id(self, spec: ProviderSpec, status: int, body: dict[str, object]) -> None:
        """An ack names the task, and nothing in it is taken for a result."""
        task = submitted(spec, body, status, asynchronous=True)

        assert task.id == ID
        assert task.provider == spec.slug
        assert not task.state.is_terminal
        assert task.artifacts == ()

    @pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
    def test_the_shortest_ack_is_the_same_for_every_provider(self, spec: ProviderSpec) -> None:
        """An id alone is a pending task, whoever it is from."""
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
    def test_a_synchronous_answer_is_the_finished_task(
        self, spec: ProviderSpec, body: dict[str, object], task_id: str, urls: list[str]
    ) -> None:
        """An answer that is the response itself is read as the finished task, with or without an id."""
        task = submitted(spec, body)

        assert task.state is TaskState.SUCCEEDED
        assert task.id == task_id
        assert [artifact.url for artifact in task.artifacts] == urls

    def test_a_whole_record_is_read_as_one(self) -> None:
        """An answer in the form of a task's record needs no wrapping."""
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
    def test_a_task_that_failed_at_once_is_failed(self, body: dict[str, object]) -> None:
        """A failure with a good status is the task's end, with the service's reason."""
        task = submitted(LUMA, body)

        assert (task.id, task.state) == (ID, TaskState.FAILED)
        assert task.error is not None
        assert task.error.code == "forbidden"

    def test_an_answer_keeps_its_response(self) -> None:
        """What a synchronous answer says can be decoded like any finished task's response."""
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
    def test_an_answer_without_a_result_or_an_id_is_refused(self, body: object) -> None:
        """What was paid for cannot be found again: the error shows what came."""
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
    def test_a_result_in_words_is_a_finished_task(self, spec: ProviderSpec, body: dict[str, object]) -> None:
        """What was waited for is the result, though it has no file; an acknowledgement with data of its own is not."""
        task = submitted(spec, body)

        assert task.state is TaskState.SUCCEEDED
        assert task.response == body
        if "task_id" in body:
            assert submitted(spec, body, asynchronous=True).state is TaskState.PENDING

    def test_an_acknowledgement_of_a_task_that_is_not_done_has_no_end(self) -> None:
        """What looks finished without a file is asked for again: until then it has not ended at any time."""
        body = {"task_id": ID, "data": {"title": "Example"}, "started_at": 1787600000.0, "finished_at": 1787600060.0}
        task = submitted(SUNO, body)
        assert (task.state, task.finished_at, task.duration) == (TaskState.SUCCEEDED, 1787600060.0, 60.0)

        task = submitted(SUNO, body, asynchronous=True)
        assert (task.state, task.finished_at, task.duration) == (TaskState.PENDING, None, None)
        assert task.id == ID

    def test_what_an_answer_said_is_shown(self) -> None:
        """The refusal names the provider and the beginning of the answer."""
        with pytest.raises(ProtocolError, match="luma: a submission was answered with") as caught:
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
    def test_every_answer_is_a_task_or_a_documented_error(
        self, spec: ProviderSpec, payload: dict[str, object], status: int, body: bytes
    ) -> None:
        """Whatever comes, a task that can be found again or is at its end is made of it, or it is refused."""
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
    def test_a_number_without_end_is_no_trouble(self, key: str, number: bytes, rest: bytes) -> None:
        """A number that no float can hold is passed over or refused, like anything else that cannot be read."""
        body = b'{"task_id":"t-1","%s":%s%s}' % (key.encode(), number, rest)
        try:
            task = read_submission(FLUX, build_submission(FLUX, {}), Response(status=200, body=body))
        except ProtocolError:
            return
        assert task.id == "t-1"

    def test_nesting_without_end_is_refused(self) -> None:
        """An answer that cannot be decoded is refused as such."""
        body = b'{"task_id":"t-1","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

        with pytest.raises(ProtocolError):
            read_submission(FLUX, build_submission(FLUX, {}), Response(status=200, body=body))
