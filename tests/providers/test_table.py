"""Tests of the provider table, of lookup and registration, and of the methods of a spec."""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import UnknownProviderError, normalize
from acetasks.providers import ArtifactField, ProviderSpec, Service, TasksCall, Word, lookup, register, specs, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: The providers in the documents of the two services, as of November 2026.
DOCUMENTED = {
    *("captcha", "digital-human", "dreamina", "fish", "flux", "gemini", "grok", "hailuo", "happyhorse", "headshots"),
    *("kling", "luma", "maestro", "midjourney", "minimax", "nano-banana", "openai", "pika", "pixverse", "producer"),
    *("qrart", "qwen-image", "seedance", "seedream", "sora", "suno", "veo", "wan", "webextrator"),
    "useapi-pixverse",
}
#: The submission paths of each.
SUBMIT_PATHS = {
    "captcha": "token/hcaptcha token/recaptcha2 token/recaptcha3 token/turnstile"
    " recognition/hcaptcha recognition/recaptcha2 recognition/image2text",
    "digital-human": "videos voices",
    "fish": "tts model",
    "headshots": "generate",
    "flux": "images videos",
    "kling": "videos motion lip-sync talking-photo goods-studio video-commerce apparel virtual-try-on elements voices",
    "midjourney": "imagine edits videos describe seed shorten translate",
    "openai": "images/generations images/edits",
    "pixverse": "videos character",
    "producer": "audios lyrics videos wav upload",
    "qrart": "generate",
    "suno": "audios lyrics mashup-lyrics mp4 mp3 wav midi timing vox voices persona style upload"
    " custom-models projects availability",
    "veo": "videos extend reshoot objects upsample",
    "webextrator": "render extract",
    **dict.fromkeys(("nano-banana", "qwen-image", "seedream"), "images"),
    **dict.fromkeys(("dreamina", "gemini", "grok", "hailuo", "happyhorse", "luma", "maestro", "minimax"), "videos"),
    **dict.fromkeys(("pika", "seedance", "sora", "wan"), "videos"),
}
MINE = ProviderSpec(slug="mine", source="notes")


@pytest.fixture
def table() -> ModuleType:
    """Load a separate table for one test, so that registrations and warnings do not outlive it."""
    found = importlib.util.find_spec("acetasks.providers.table")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def luma() -> Iterator[ProviderSpec]:
    """Return luma's spec, and restore it in the global table after the test."""
    spec = lookup("luma")
    yield spec
    register(spec, replace=True)


# -------------------------------------------------------------------------------------------------------- the specs


def test_the_table_contains_the_documented_providers() -> None:
    """The table contains exactly the providers in the documents."""
    assert [spec.slug for spec in specs()] == sorted(DOCUMENTED)
    assert len(DOCUMENTED) == 30


@pytest.mark.parametrize("slug", sorted(SUBMIT_PATHS))
def test_a_spec_has_the_documented_submission_paths(slug: str) -> None:
    """The paths are complete, the default one first."""
    assert lookup(slug).submit_paths == tuple(f"/{slug}/{path}" for path in SUBMIT_PATHS[slug].split())


def test_the_paths_of_every_provider_of_ace_data_cloud_are_tested() -> None:
    """`SUBMIT_PATHS` is complete."""
    assert {*SUBMIT_PATHS, "useapi-pixverse"} == DOCUMENTED


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
def test_a_spec_is_complete(spec: ProviderSpec) -> None:
    """A spec has a source, submission paths, a typical duration and artifact fields."""
    assert spec.source.startswith(("guides: ", "openapi: ", "useapi.net: "))
    assert spec.submit_paths
    assert 1 <= spec.typical_duration <= 3600
    assert bool(spec.artifacts) == (spec.slug not in {"captcha", "webextrator"})
    assert not spec.artifacts or any(field.role == "main" for field in spec.artifacts)
    assert all(word == word.strip().lower() for word in spec.words)


def test_only_some_providers_have_a_nonstandard_tasks_call() -> None:
    """All other providers accept `{ids, action: retrieve_batch}`."""
    standard = {spec.slug for spec in specs() if spec.tasks_call is TasksCall.BATCH and spec.id_field == "id"}
    assert {"captcha", "digital-human", "maestro", "useapi-pixverse"} == DOCUMENTED - standard

    calls = {slug: lookup(slug).tasks_call for slug in sorted(DOCUMENTED - standard)}
    assert calls == {
        "captcha": TasksCall.BARE,
        "digital-human": TasksCall.BATCH,
        "maestro": TasksCall.SINGLE,
        "useapi-pixverse": TasksCall.QUERY,
    }
    assert (lookup("digital-human").id_field, lookup("digital-human").ids_field) == ("task_id", "task_id")
    assert lookup("captcha").id_field == "task_id"
    assert lookup("useapi-pixverse").id_field == "jobid"


def test_the_paths_of_the_tasks_call() -> None:
    """The path contains the slug; useapi's jobs have a different one."""
    assert lookup("nano-banana").path == "/nano-banana/tasks"
    assert lookup("useapi-pixverse").path == "/v1/pixverse/jobs/"
    assert {spec.slug for spec in specs() if spec.tasks_path} == {"useapi-pixverse"}


def test_useapi_is_a_separate_service() -> None:
    """Its providers use another token and another base URL."""
    assert {spec.slug for spec in specs() if spec.service is Service.USEAPI} == {"useapi-pixverse"}


def test_some_submissions_do_not_accept_async() -> None:
    """Maestro, minimax and useapi are always asynchronous, and `async` would be an unknown field."""
    assert {spec.slug for spec in specs() if not spec.accepts_async} == {"maestro", "minimax", "useapi-pixverse"}


def test_callback_fields() -> None:
    """Every provider but captcha takes a callback URL, useapi.net's in a field of its own."""
    fields = {spec.slug: spec.callback_field for spec in specs() if spec.callback_field != "callback_url"}
    assert fields == {"captcha": None, "useapi-pixverse": "replyUrl"}
    assert ProviderSpec(slug="newest").callback_field == "callback_url"


# ------------------------------------------------------------------------------------------------ methods of a spec


@pytest.mark.parametrize(
    ("duration", "expected"), [(5.3, 2.0), (60.0, 2.0), (90.0, 3.0), (154.0, 154 / 30), (450.0, 15.0), (1976.0, 15.0)]
)
def test_the_default_interval_is_a_fraction_of_the_typical_duration(duration: float, expected: float) -> None:
    """It is a thirtieth of the duration, between 2 and 15 seconds."""
    spec = ProviderSpec(slug="mine", typical_duration=duration)

    assert spec.poll_interval(None) == pytest.approx(expected)


def test_the_interval_of_the_spec_overrides_the_default() -> None:
    """A documented interval replaces the fraction of the duration."""
    assert ProviderSpec(slug="mine", interval=4.5, typical_duration=900).poll_interval(None) == 4.5


def test_the_interval_of_the_policy_overrides_the_spec() -> None:
    """The policy's interval is used unchanged, even below the usual minimum."""
    assert ProviderSpec(slug="mine", interval=4.5).poll_interval(0.25) == 0.25
    assert ProviderSpec(slug="mine").poll_interval(60.0) == 60.0


def test_the_documented_minimum_overrides_the_policy() -> None:
    """The service useapi.net requires at least 10 seconds between two polls of one job."""
    assert lookup("useapi-pixverse").poll_interval(0.5) == 10.0
    assert lookup("useapi-pixverse").poll_interval(None) == 15.0
    assert ProviderSpec(slug="mine", min_interval=10.0, interval=3.0).poll_interval(None) == 10.0


@given(st.floats(0.01, 1e6), st.none() | st.floats(0.01, 1e6), st.floats(0, 1e4), st.none() | st.floats(0.001, 1e6))
def test_an_interval_is_never_below_the_minimum(
    duration: float, interval: float | None, minimum: float, policy_interval: float | None
) -> None:
    """No interval is below the provider's minimum or, without one in policy and spec, below the usual minimum."""
    spec = ProviderSpec(slug="mine", typical_duration=duration, interval=interval, min_interval=minimum)
    found = spec.poll_interval(policy_interval)

    assert found >= minimum
    assert policy_interval is None or found == max(policy_interval, minimum)
    assert policy_interval is not None or interval is not None or max(2.0, minimum) <= found <= max(15.0, minimum)


def test_batch_sizes() -> None:
    """The smaller one of the policy's size and the provider's limit, and 1 without a batch call."""
    assert lookup("luma").batch_size(50) == 50
    assert ProviderSpec(slug="mine", batch_limit=12).batch_size(50) == 12
    assert ProviderSpec(slug="mine", batch_limit=12).batch_size(5) == 5
    assert {slug for slug in DOCUMENTED if lookup(slug).batch_size(50) == 1} == {
        *("captcha", "maestro", "useapi-pixverse"),
    }


@pytest.mark.parametrize("slug", ["", "Luma", "lu ma", "lu/ma", "-luma", "luma-", "a--b", "../luma", "luma\n", "lüma"])
def test_an_invalid_slug_is_rejected(slug: str) -> None:
    """The slug becomes part of a URL."""
    with pytest.raises(ValueError, match=re.escape(repr(slug))):
        ProviderSpec(slug=slug)


@pytest.mark.parametrize("slug", ["a", "7", "nano-banana", "v2.1", "my_own", "useapi-pixverse"])
def test_a_valid_slug_is_accepted(slug: str) -> None:
    """Letters, digits and hyphens, and dots and underscores between them, are valid."""
    assert ProviderSpec(slug=slug).path == f"/{slug}/tasks"


@pytest.mark.parametrize(
    "paths", [{"submit_paths": ("/mine/a", "mine/b")}, {"tasks_path": "https://elsewhere.example"}]
)
def test_an_invalid_path_is_rejected(paths: dict[str, object]) -> None:
    """A path without a leading slash would change the host that receives the token."""
    with pytest.raises(ValueError, match="'mine' must start with '/'"):
        ProviderSpec(slug="mine", **paths)  # type: ignore[arg-type]  # one of two fields


def test_a_spec_is_immutable() -> None:
    """Specs are shared by all clients of a process."""
    with pytest.raises(AttributeError):
        lookup("luma").typical_duration = 1.0  # type: ignore[misc]  # deliberately wrong
    with pytest.raises(AttributeError):
        ArtifactField("video_url", lookup("luma").artifacts[0].kind).path = "x"  # type: ignore[misc]  # deliberately wrong


# ----------------------------------------------------------------------------------------------------------- lookup


def test_a_slug_is_looked_up() -> None:
    """Each lookup of a known slug returns the same spec."""
    assert lookup("luma").slug == "luma"
    assert lookup("luma") is lookup("luma")


def test_an_unknown_slug_gets_the_generic_spec(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """Providers that are not in the table are polled with the standard call, after a warning."""
    spec = table.lookup("hyperion")

    assert (spec.slug, spec.path, spec.tasks_call) == ("hyperion", "/hyperion/tasks", TasksCall.BATCH)
    assert spec.artifacts == table.GENERIC.artifacts
    assert spec.source
    [record] = caplog.records
    assert (record.name, record.levelno) == ("acetasks", logging.WARNING)
    assert "'hyperion' is not known" in record.getMessage()
    assert "/hyperion/tasks" in record.getMessage()
    assert "did you mean" not in record.getMessage()


def test_an_unknown_slug_is_logged_once(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """Only the first lookup of each unknown provider logs a warning."""
    found = {id(table.lookup("hyperion")) for _ in range(3)}
    table.lookup("theia")

    assert len(found) == 1
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("mistyped", "suggestion"),
    [("luma2", "luma"), ("pixver", "pixverse"), ("nanobananna-2", "nano-banana"), ("sdigitalhumans", "digital-human")],
)
def test_the_warning_suggests_a_similar_slug(
    table: ModuleType, caplog: pytest.LogCaptureFixture, mistyped: str, suggestion: str
) -> None:
    """A slug that is similar to a known one, but not clearly a typing error, is used with a warning that names that."""
    table.lookup(mistyped)

    assert f"did you mean {suggestion!r}?" in caplog.text


def test_an_unknown_slug_is_not_added_to_the_table(table: ModuleType) -> None:
    """A generic spec is not listed, and can be replaced without `replace`."""
    table.lookup("mine")
    assert "mine" not in {spec.slug for spec in table.specs()}

    table.register(MINE)
    assert table.lookup("mine") is MINE


@pytest.mark.parametrize("name", ["Luma", " luma", "luma ", "luma/tasks", "", "-", "luma?", "LUMA", "lu\nma"])
def test_an_invalid_name_is_rejected(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It would become part of a path, so it raises before any request, without a warning."""
    with pytest.raises(UnknownProviderError, match=re.escape(repr(name))) as caught:
        lookup(name)

    assert caught.value.provider == name
    assert caught.value.suggestion == suggest(name)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lumma", "luma"),
        ("lum", None),
        ("lma", None),
        ("luam", "luma"),
        ("lumi", "luma"),
        ("kuma", "luma"),
        ("pixvers", "pixverse"),
        ("ppixverse", "pixverse"),
        ("nanobanana", "nano-banana"),
        ("nano_banana", "nano-banana"),
        ("useapi-pixvrese", "useapi-pixverse"),
        ("sora2", None),
        ("luma-2", None),
        ("vea", None),
        ("vveo", None),
        ("lummma", None),
        ("seedanse-lite", None),
    ],
)
def test_a_typing_error_is_rejected(table: ModuleType, name: str, meant: str | None) -> None:
    """A slug of four letters or more that is one typing error away from a known one raises, with that suggestion."""
    if meant is None:
        assert table.lookup(name).slug == name
    else:
        with pytest.raises(UnknownProviderError, match=f"did you mean '{meant}'") as caught:
            table.lookup(name)
        assert caught.value.suggestion == meant


def test_a_registered_spec_may_have_a_similar_slug(table: ModuleType) -> None:
    """Registering it says that it is no typing error, and makes it one to be compared with."""
    spec = ProviderSpec(slug="lumma")
    table.register(spec)

    assert table.lookup("lumma") is spec
    with pytest.raises(UnknownProviderError, match="did you mean 'lumma'"):
        table.lookup("lummma")


@pytest.mark.parametrize("name", [None, 5, b"luma", ["luma"], {"luma": 1}, ProviderSpec(slug="luma")], ids=repr)
def test_a_name_that_is_not_a_text_is_rejected(name: object) -> None:
    """An argument of another type raises `UnknownProviderError`."""
    with pytest.raises(UnknownProviderError) as caught:
        lookup(name)  # type: ignore[arg-type]  # deliberately wrong

    assert (caught.value.provider, caught.value.suggestion) == (name, None)


@pytest.mark.parametrize(
    ("name", "expected"), [("Luma", "luma"), (" veo ", "veo"), ("sunno", "suno"), ("", None), ("wholly-other", None)]
)
def test_suggestions(name: str, expected: str | None) -> None:
    """The most similar known slug, ignoring case and whitespace, or None."""
    assert suggest(name) == expected


# ----------------------------------------------------------------------------------------------------- registration


def test_a_registered_spec_is_found(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """A registered provider is listed and looked up like any other, without a warning."""
    table.register(MINE)

    assert table.lookup("mine") is MINE
    assert MINE in table.specs()
    assert [spec.slug for spec in table.specs()] == sorted({*DOCUMENTED, "mine"})
    assert table.suggest("minee") == "mine"
    assert not caplog.records


def test_a_spec_is_not_replaced_without_replace(table: ModuleType) -> None:
    """Two parts of a program that register the same slug do not silently override each other."""
    table.register(MINE)
    other = ProviderSpec(slug="mine", source="other notes")

    with pytest.raises(ValueError, match="'mine' is already registered; pass replace=True"):
        table.register(other)
    assert table.lookup("mine") is MINE

    table.register(other, replace=True)
    assert table.lookup("mine") is other


def test_replace_is_allowed_for_a_new_spec(table: ModuleType) -> None:
    """`replace` does not require an existing spec."""
    table.register(MINE, replace=True)

    assert table.lookup("mine") is MINE


def test_a_replaced_spec_is_used_at_once(luma: ProviderSpec) -> None:
    """A corrected spec takes effect for every following record in the process."""
    body = {"id": "a", "response": {"state": "molten", "video_url": "u"}}
    assert normalize("luma", body).state == "running"

    register(ProviderSpec(slug="luma", words={"molten": Word.FAILED}, source="a correction"), replace=True)

    assert normalize("luma", body).state == "failed"
    assert lookup("luma") != luma


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"words": {"Done": Word.DONE}}, "lower case"),
        ({"words": {" done": Word.DONE}}, "lower case"),
        ({"utc_offset": 24.0}, "utc_offset"),
    ],
)
def test_invalid_words_and_offsets_are_rejected(facts: dict[str, object], message: str) -> None:
    """Words are compared in lower case, and an offset is less than a day."""
    with pytest.raises(ValueError, match=message):
        ProviderSpec(slug="mine", **facts)  # type: ignore[arg-type]  # one field at a time
