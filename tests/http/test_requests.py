"""Builders of requests."""

from __future__ import annotations

import collections
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._http.requests import build_poll, build_submission
from acetasks.providers import ProviderSpec, Service, lookup, specs

FLUX, LUMA, VEO, SUNO = lookup("flux"), lookup("luma"), lookup("veo"), lookup("suno")
CAPTCHA, DIGITAL_HUMAN, MAESTRO = lookup("captcha"), lookup("digital-human"), lookup("maestro")
MINIMAX, USEAPI = lookup("minimax"), lookup("useapi-pixverse")


class TestBuildPoll:
    """`build_poll`: the request of each kind of tasks call."""

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
        """Method, path, query and body are the ones in the provider's documents."""
        request = build_poll(spec, ids)

        assert (request.method, request.path, request.query) == (method, path, query)
        assert (json.loads(request.body) if request.body else None) == body
        assert request.provider == spec.slug
        assert request.service is spec.service
        assert request.ids == tuple(ids)
        assert request.is_submission is False

    @pytest.mark.parametrize(
        ("spec", "statuses"), [(LUMA, set()), (CAPTCHA, {504}), (USEAPI, {410})], ids=["luma", "captcha", "useapi"]
    )
    def test_has_the_statuses_that_describe_the_task(self, spec: ProviderSpec, statuses: set[int]) -> None:
        """A request has the error statuses that describe the task and not the request."""
        assert build_poll(spec, ["a"]).task_statuses == statuses

    @pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
    def test_every_provider_gets_the_ids(self, spec: ProviderSpec) -> None:
        """Every provider's request has an absolute path and the ids in its body or query."""
        ids = ["a", "b"] if spec.has_batch else ["a"]
        request = build_poll(spec, ids)

        assert request.path.startswith("/")
        polled = request.query or json.loads(request.body)
        assert (ids if spec.has_batch else "a") in polled.values()
        assert (request.method == "GET") == (not request.body)


class TestBuildSubmission:
    """`build_submission`: the payload, unchanged except for `async`."""

    def test_is_exact(self) -> None:
        """The request posts to the provider's first path, is asynchronous, and is marked as a submission."""
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
    def test_adds_async_unless_the_caller_decided(
        self,
        payload: dict[str, object],
        is_async: bool | None,  # noqa: FBT001  # a column of the table
    ) -> None:
        """`async` is added only without an `async` or a callback in the payload."""
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
    def test_is_blocking_without_async_and_callback(
        self,
        spec: ProviderSpec,
        payload: dict[str, object],
        is_blocking: bool,  # noqa: FBT001  # a column of the table
    ) -> None:
        """The response is the result without `async` and callback, if the provider supports that at all."""
        assert build_submission(spec, payload).is_blocking is is_blocking

    @pytest.mark.parametrize("spec", [MINIMAX, USEAPI], ids=lambda spec: spec.slug)
    def test_adds_nothing_for_asynchronous_providers(self, spec: ProviderSpec) -> None:
        """An always asynchronous provider gets the payload unchanged."""
        assert json.loads(build_submission(spec, {"prompt": "a"}).body) == {"prompt": "a"}

    @pytest.mark.parametrize(
        ("spec", "payload", "field"),
        [
            (FLUX, {"prompt": "a"}, "callback_url"),
            (FLUX, {"prompt": "a", "async": True, "callback_url": ""}, "callback_url"),
            (MINIMAX, {"prompt": "a", "async": False}, "callback_url"),
            (USEAPI, {"prompt": "a"}, "replyUrl"),
            (CAPTCHA, {"website_key": "a"}, None),
            (FLUX, {"prompt": "a", "async": False}, None),
            (FLUX, {"prompt": "a", "callback_url": "https://example.com/own"}, None),
            (USEAPI, {"prompt": "a", "replyUrl": "https://example.com/own"}, None),
        ],
    )
    def test_adds_a_callback_url(self, spec: ProviderSpec, payload: dict[str, object], field: str | None) -> None:
        """In the provider's field, beside the payload as without; not beside one of the caller's, or if it blocks."""
        without = build_submission(spec, payload)
        request = build_submission(spec, payload, callback_url="https://example.com/ours")
        if field is None:
            assert request == without
            return
        assert json.loads(request.body) == {**json.loads(without.body), field: "https://example.com/ours"}
        assert (request.payload, without.payload) == (without.body, b"")
        assert request.is_blocking is False

    def test_path_overrides_the_first_path(self) -> None:
        """The caller's path takes precedence over the provider's first path."""
        assert build_submission(SUNO, {}).path == "/suno/audios"
        assert build_submission(SUNO, {}, "/suno/lyrics").path == "/suno/lyrics"

    @pytest.mark.parametrize(
        "payload", [MappingProxyType({"prompt": "a"}), collections.ChainMap({"prompt": "a"}, {"prompt": "b"})]
    )
    def test_accepts_any_mapping_without_changing_it(self, payload: collections.abc.Mapping[str, object]) -> None:
        """The caller's mapping is not modified."""
        body = json.loads(build_submission(LUMA, payload).body)

        assert body == {"prompt": "a", "async": True}
        assert dict(payload) == {"prompt": "a"}

    @pytest.mark.parametrize("path", ["luma/videos", "https://example.com/luma/videos", "//example.com/luma", " /luma"])
    def test_refuses_paths_to_other_hosts(self, path: str) -> None:
        """A path that could name another host is refused, because the token would be sent there."""
        with pytest.raises(ValueError, match="path must begin with exactly one '/'") as caught:
            build_submission(LUMA, {}, path)

        assert repr(path) in str(caught.value)

    @pytest.mark.parametrize(
        "path",
        [
            *("/luma/../../admin", "/luma/..", "/..", "/.", "/luma/./videos", "/luma/%2e%2e/admin", "/luma/%2E./admin"),
            *("/luma%2f..%2fadmin", "/luma\\..\\admin", "/luma//videos", "/", "/luma/videos//", "/luma/videos?a=b"),
            *("/luma/videos#top", "/luma\r\nX-Evil: 1", "/luma/\x00", "/luma/\ud800", "/luma/videos ", "/luma/vidéos"),
        ],
    )
    def test_refuses_paths_that_leave_the_base_url(self, path: str) -> None:
        """A path that a URL, proxy or service would read as another one is refused, by its name."""
        with pytest.raises(ValueError, match="path must have names between single slashes") as caught:
            build_submission(LUMA, {}, path)

        assert ascii(path)[1:-1] in ascii(str(caught.value)).replace("\\\\", "\\")

    @pytest.mark.parametrize("path", ["/luma/videos/", "/v1/a-b_c.d~e", "/v1/jobs:run", "/a..b/...", "/x@2,(1)"])
    def test_accepts_the_characters_of_a_url(self, path: str) -> None:
        """A path is sent as it is."""
        assert build_submission(LUMA, {}, path).path == path

    @pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
    def test_accepts_every_path_of_the_table(self, spec: ProviderSpec) -> None:
        """Every submit path in the table of providers is accepted."""
        assert [build_submission(spec, {}, path).path for path in spec.submit_paths] == list(spec.submit_paths)

    def test_refuses_an_empty_path(self) -> None:
        """Only None stands for the provider's first path."""
        with pytest.raises(ValueError, match="path must begin with exactly one '/'"):
            build_submission(LUMA, {}, "")

    def test_headers_are_kept(self) -> None:
        """The caller's headers are copied; without any there are none."""
        headers = {"model": "s2-pro", "Idempotency-Key": "order 17", "x-empty": ""}
        request = build_submission(lookup("fish"), {}, headers=headers)
        assert request.headers == headers
        assert request.headers is not headers
        assert build_submission(LUMA, {}).headers == {}

    @pytest.mark.parametrize(
        "name",
        ["Authorization", "HOST", "content-length", "Content-Type", "transfer-encoding", "Connection", "accept"],
    )
    def test_refuses_headers_that_the_client_sets(self, name: str) -> None:
        """The token, the format and the framing of a request are the client's."""
        with pytest.raises(ValueError, match=f"header '{name}' is set by the client"):
            build_submission(LUMA, {}, headers={name: "x"})

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "x\r\nevil", "modèle", "x\0"])
    def test_refuses_malformed_names_of_headers(self, name: str) -> None:
        """A name that would begin another header, or none, is refused."""
        with pytest.raises(ValueError, match="headers must have names of letters") as caught:
            build_submission(LUMA, {}, headers={name: "x"})
        assert repr(name) in str(caught.value)

    @pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\0b", " s2-pro", "s2-pro\t", "é", "\ud800"])
    def test_refuses_malformed_values_of_headers(self, value: str) -> None:
        """The message has the name, and not the value."""
        with pytest.raises(ValueError, match="header 'model' must have a value of printable ASCII") as caught:
            build_submission(LUMA, {}, headers={"model": value})
        assert value.strip() not in str(caught.value)

    @pytest.mark.parametrize("headers", [[("model", "x")], "model", {"model": 7}, {7: "model"}, {"model": b"x"}])
    def test_refuses_headers_of_other_types(self, headers: object) -> None:
        """Headers are a mapping of strings."""
        with pytest.raises(TypeError, match="headers must be"):
            build_submission(LUMA, {}, headers=headers)  # type: ignore[arg-type]  # the wrong type is tested

    def test_refuses_a_header_given_twice(self) -> None:
        """The case of a name makes no difference."""
        with pytest.raises(ValueError, match="header 'model' is given twice"):
            build_submission(LUMA, {}, headers={"Model": "a", "model": "b"})

    def test_refuses_a_provider_without_path(self) -> None:
        """Without a known path, the error says which argument to pass."""
        with pytest.raises(
            ValueError, match=r"provider 'brand-new' has no known submit path; pass path='/brand-new/...'"
        ):
            build_submission(ProviderSpec(slug="brand-new"), {})

        assert build_submission(ProviderSpec(slug="brand-new"), {}, "/brand-new/videos").path == "/brand-new/videos"

    @pytest.mark.parametrize("payload", [None, "a paper boat", b"{}", [("prompt", "a")], 7])
    def test_refuses_other_types(self, payload: object) -> None:
        """A payload that is not a mapping is refused by its type, without its content."""
        with pytest.raises(TypeError, match=f"payload must be a mapping of parameters, got {type(payload).__name__}"):
            build_submission(LUMA, payload)  # type: ignore[arg-type]  # the wrong type is tested

    @pytest.mark.parametrize(
        "value",
        [object(), 1j, {None: 1}, "\ud800", float("nan"), float("inf"), [float("-inf")]],
        ids=["object", "complex", "key", "surrogate", "nan", "infinity", "nested infinity"],
    )
    def test_refuses_values_without_json_equivalent(self, value: object) -> None:
        """Values that would be sent, and billed, as something else are refused."""
        with pytest.raises(TypeError, match="the payload for /luma/videos cannot be encoded as JSON"):
            build_submission(LUMA, {"image": value})

    def test_refuses_recursive_payloads(self) -> None:
        """A payload that contains itself is refused."""
        payload: dict[str, object] = {}
        payload["again"] = payload

        with pytest.raises(TypeError, match="cannot be encoded as JSON"):
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
    def test_encodes_any_json_value(self, payload: dict[str, object]) -> None:
        """Every payload of JSON values is encoded unchanged except for `async`."""
        assert json.loads(build_submission(FLUX, payload).body) == {"async": True} | payload
