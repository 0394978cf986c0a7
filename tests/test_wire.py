"""The wire: exact requests out."""

from __future__ import annotations

import collections
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.providers import ProviderSpec, Service, lookup, specs
from acetasks.wire import build_look, build_submission

FLUX, LUMA, VEO, SUNO = lookup("flux"), lookup("luma"), lookup("veo"), lookup("suno")
CAPTCHA, DIGITAL_HUMAN, MAESTRO = lookup("captcha"), lookup("digital-human"), lookup("maestro")
MINIMAX, USEAPI = lookup("minimax"), lookup("useapi-pixverse")


class TestBuildLook:
    """`build_look`: how each kind of tasks call is made."""

    @pytest.mark.parametrize(
        ("spec", "ids", "method", "path", "query", "body"),
        [
            (LUMA, ["a"], "POST", "/luma/tasks", {}, {"id": "a", "action": "retrieve"}),
            (
                LUMA,
                ["b", "a"],
                "POST",
                "/luma/tasks",
                {},
                {"ids": ["b", "a"], "action": "retrieve_batch", "limit": 2, "offset": 0},
            ),
            (DIGITAL_HUMAN, ["a"], "POST", "/digital-human/tasks", {}, {"task_id": "a", "action": "retrieve"}),
            (
                DIGITAL_HUMAN,
                ["a", "b", "c"],
                "POST",
                "/digital-human/tasks",
                {},
                {"task_id": ["a", "b", "c"], "action": "retrieve_batch", "limit": 3, "offset": 0},
            ),
            (MAESTRO, ["a"], "POST", "/maestro/tasks", {}, {"id": "a", "action": "retrieve"}),
            (CAPTCHA, ["a"], "POST", "/captcha/tasks", {}, {"task_id": "a"}),
            (USEAPI, ["user:1-job:7&x"], "GET", "/v1/pixverse/jobs/", {"jobid": "user:1-job:7&x"}, None),
        ],
        ids=["one", "batch", "one by its own key", "batch by its own key", "single only", "bare", "query"],
    )
    def test_is_exact(  # noqa: PLR0917  # one argument for each column
        self,
        spec: ProviderSpec,
        ids: list[str],
        method: str,
        path: str,
        query: dict[str, str],
        body: dict[str, object] | None,
    ) -> None:
        """Method, path, query and body are those of the provider's documents."""
        request = build_look(spec, ids)

        assert (request.method, request.path, request.query) == (method, path, query)
        assert (json.loads(request.body) if request.body else None) == body
        assert request.provider == spec.slug
        assert request.service is spec.service
        assert request.ids == tuple(ids)
        assert request.is_submission is False

    @pytest.mark.parametrize(
        ("spec", "statuses"), [(LUMA, set()), (CAPTCHA, {504}), (USEAPI, {410})], ids=["luma", "captcha", "useapi"]
    )
    def test_knows_the_statuses_that_speak_of_the_task(self, spec: ProviderSpec, statuses: set[int]) -> None:
        """A request carries the error statuses with which its provider means the task, not the request."""
        assert build_look(spec, ["a"]).task_statuses == statuses

    @pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
    def test_asks_for_the_same_ids_with_every_provider(self, spec: ProviderSpec) -> None:
        """Every row makes a request with an absolute path, which names the ids in its body or query."""
        ids = ["a", "b"] if spec.has_batch else ["a"]
        request = build_look(spec, ids)

        assert request.path.startswith("/")
        asked = request.query or json.loads(request.body)
        assert (ids if spec.has_batch else "a") in asked.values()
        assert (request.method == "GET") == (not request.body)


class TestBuildSubmission:
    """`build_submission`: what is paid for, exactly as the caller gave it."""

    def test_is_exact(self) -> None:
        """It is posted to the provider's first path, asks for an answer at once, and is marked as paid for."""
        request = build_submission(VEO, {"action": "text2video", "model": "veo2", "prompt": "a paper boat"})

        assert (request.method, request.path, request.query) == ("POST", "/veo/videos", {})
        assert json.loads(request.body) == {
            "action": "text2video",
            "model": "veo2",
            "prompt": "a paper boat",
            "async": True,
        }
        assert (request.provider, request.service) == ("veo", Service.ACEDATA)
        assert request.is_submission is True
        assert (request.ids, request.task_statuses) == ((), frozenset())

    @pytest.mark.parametrize(
        ("payload", "is_async"),
        [
            ({}, True),
            ({"async": True}, True),
            ({"async": False}, False),
            ({"callback_url": ""}, True),
            ({"callback_url": None}, True),
            ({"callback_url": "https://example.com/secret"}, None),
            ({"callback_url": "https://example.com/secret", "async": True}, True),
        ],
    )
    def test_asks_for_an_answer_at_once_unless_told_otherwise(
        self,
        payload: dict[str, object],
        is_async: bool | None,  # noqa: FBT001  # a column of the table
    ) -> None:
        """`async` is added only where neither it nor a callback is there."""
        body = json.loads(build_submission(FLUX, payload).body)

        assert body.get("async") is is_async
        assert {key: value for key, value in body.items() if key != "async" or "async" in payload} == payload

    @pytest.mark.parametrize(
        ("spec", "payload", "is_blocking"),
        [
            (FLUX, {}, False),
            (FLUX, {"async": True}, False),
            (FLUX, {"callback_url": "https://example.com/secret"}, False),
            (FLUX, {"callback_url": "https://example.com/secret", "async": False}, False),
            (FLUX, {"async": False}, True),
            (FLUX, {"async": None, "callback_url": ""}, True),
            (MINIMAX, {"async": False}, False),
            (USEAPI, {}, False),
        ],
    )
    def test_knows_whether_the_result_is_waited_for(
        self,
        spec: ProviderSpec,
        payload: dict[str, object],
        is_blocking: bool,  # noqa: FBT001  # a column of the table
    ) -> None:
        """Only without `async` and a callback does the service answer with the result, and only where it ever does."""
        assert build_submission(spec, payload).is_blocking is is_blocking

    @pytest.mark.parametrize("spec", [MINIMAX, USEAPI], ids=lambda spec: spec.slug)
    def test_adds_nothing_where_the_provider_takes_none(self, spec: ProviderSpec) -> None:
        """A provider that is always asynchronous is sent just what the caller gave."""
        assert json.loads(build_submission(spec, {"prompt": "a"}).body) == {"prompt": "a"}

    def test_takes_another_path(self) -> None:
        """A path of the caller's goes before the provider's first."""
        assert build_submission(SUNO, {}).path == "/suno/audios"
        assert build_submission(SUNO, {}, "/suno/lyrics").path == "/suno/lyrics"

    @pytest.mark.parametrize(
        "payload", [MappingProxyType({"prompt": "a"}), collections.ChainMap({"prompt": "a"}, {"prompt": "b"})]
    )
    def test_takes_any_mapping_and_leaves_it_as_it_is(self, payload: collections.abc.Mapping[str, object]) -> None:
        """What the caller keeps is not changed."""
        body = json.loads(build_submission(LUMA, payload).body)

        assert body == {"prompt": "a", "async": True}
        assert dict(payload) == {"prompt": "a"}

    @pytest.mark.parametrize("path", ["luma/videos", "https://example.com/luma/videos", "//example.com/luma", " /luma"])
    def test_refuses_a_path_that_leads_elsewhere(self, path: str) -> None:
        """A path that could name another host is refused with its value: the token would go there."""
        with pytest.raises(ValueError, match="a path begins with one '/', below the base URL") as caught:
            build_submission(LUMA, {}, path)

        assert repr(path) in str(caught.value)

    def test_refuses_a_provider_without_a_path(self) -> None:
        """A provider that has no row has no path either; the error says what to pass."""
        with pytest.raises(ValueError, match=r"provider 'brand-new' has no path .* pass path='/brand-new/...'"):
            build_submission(ProviderSpec(slug="brand-new"), {})

        assert build_submission(ProviderSpec(slug="brand-new"), {}, "/brand-new/videos").path == "/brand-new/videos"

    @pytest.mark.parametrize("payload", [None, "a paper boat", b"{}", [("prompt", "a")], 7])
    def test_refuses_what_is_no_mapping(self, payload: object) -> None:
        """JSON of one's own, or a bare prompt, is no payload; the error names its type and not its content."""
        with pytest.raises(TypeError, match=f"is a mapping of parameters, not {type(payload).__name__}"):
            build_submission(LUMA, payload)  # type: ignore[arg-type]  # that is the point

    @pytest.mark.parametrize(
        "value",
        [object(), 1j, {None: 1}, "\ud800", float("nan"), float("inf"), [float("-inf")]],
        ids=["object", "complex", "key", "surrogate", "nan", "infinity", "nested infinity"],
    )
    def test_refuses_what_json_cannot_say(self, value: object) -> None:
        """What would be sent as something else, and paid for, is refused."""
        with pytest.raises(TypeError, match="the payload of a submission to /luma/videos cannot be written as JSON"):
            build_submission(LUMA, {"image": value})

    def test_refuses_a_payload_within_itself(self) -> None:
        """A payload without end is refused, not followed."""
        payload: dict[str, object] = {}
        payload["again"] = payload

        with pytest.raises(TypeError, match="cannot be written as JSON"):
            build_submission(LUMA, payload)

    @given(
        payload=st.dictionaries(
            st.text().filter("callback_url".__ne__),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=8,
            ),
            max_size=4,
        )
    )
    def test_sends_what_it_is_given(self, payload: dict[str, object]) -> None:
        """Every payload of JSON values arrives as it is, but for `async`."""
        assert json.loads(build_submission(FLUX, payload).body) == {"async": True} | payload
