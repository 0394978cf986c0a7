"""The table and its rows: who is in it, how a name is looked up, and what a row answers."""

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

#: The providers that the documents of the two services name, as of November 2026.
DOCUMENTED = {
    *("captcha", "digital-human", "dreamina", "fish", "flux", "gemini", "grok", "hailuo", "happyhorse", "headshots"),
    *("kling", "luma", "maestro", "midjourney", "minimax", "nano-banana", "openai", "pika", "pixverse", "producer"),
    *("qrart", "qwen-image", "seedance", "seedream", "sora", "suno", "veo", "wan", "webextrator"),
    "useapi-pixverse",
}
#: Where a request is submitted, for each of them.
SUBMIT_PATHS = {
    "captcha": "token/hcaptcha token/recaptcha2 token/recaptcha3 token/turnstile"
    " recognition/hcaptcha recognition/recaptcha2 recognition/image2text",
    "digital-human": "videos voices",
    "fish": "tts model",
    "headshots": "generate",
    "kling": "videos motion lip-sync talking-photo",
    "midjourney": "imagine edits videos describe",
    "openai": "images/generations images/edits",
    "producer": "audios lyrics videos wav upload",
    "qrart": "generate",
    "suno": "audios lyrics mashup-lyrics mp4 wav midi timing vox voices persona style upload",
    "webextrator": "render extract",
    **dict.fromkeys(("flux", "nano-banana", "qwen-image", "seedream"), "images"),
    **dict.fromkeys(("dreamina", "gemini", "grok", "hailuo", "happyhorse", "luma", "maestro", "minimax"), "videos"),
    **dict.fromkeys(("pika", "pixverse", "seedance", "sora", "veo", "wan"), "videos"),
}
MINE = ProviderSpec(slug="mine", source="my own notes")


@pytest.fixture
def table() -> ModuleType:
    """Load a table of its own for one test: what is registered in it, and warned of, ends with the test."""
    found = importlib.util.find_spec("acetasks.providers.table")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def luma() -> Iterator[ProviderSpec]:
    """Luma's row, which is put back into the process's table after the test."""
    row = lookup("luma")
    yield row
    register(row, replace=True)


# ------------------------------------------------------------------------------------------------------ the rows


def test_the_table_has_the_documented_providers() -> None:
    """A provider that the documents name has a row, and a row is one that they name."""
    assert [spec.slug for spec in specs()] == sorted(DOCUMENTED)
    assert len(DOCUMENTED) == 30


@pytest.mark.parametrize("slug", sorted(SUBMIT_PATHS))
def test_a_row_has_the_documented_submission_paths(slug: str) -> None:
    """Every documented path of Ace Data Cloud is there, the usual one first."""
    assert lookup(slug).submit_paths == tuple(f"/{slug}/{path}" for path in SUBMIT_PATHS[slug].split())


def test_every_provider_of_ace_data_cloud_has_its_paths_checked() -> None:
    """The list above leaves nobody out."""
    assert {*SUBMIT_PATHS, "useapi-pixverse"} == DOCUMENTED


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.slug)
def test_a_row_is_complete(spec: ProviderSpec) -> None:
    """A row says where its facts are from, where to submit, how long the work takes and what it makes."""
    assert spec.source.startswith(("guides: ", "openapi: ", "useapi.net: "))
    assert spec.submit_paths
    assert 1 <= spec.typical_duration <= 3600
    assert bool(spec.artifacts) == (spec.slug not in {"captcha", "webextrator"})
    assert not spec.artifacts or any(field.role == "main" for field in spec.artifacts)
    assert all(word == word.strip().lower() for word in spec.words)


def test_only_a_few_are_asked_in_a_way_of_their_own() -> None:
    """All others take `{ids, action: retrieve_batch}` under the standard path, with Ace Data Cloud's token."""
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
    """Tasks are asked for under the slug, useapi's jobs at a path of their own."""
    assert lookup("nano-banana").path == "/nano-banana/tasks"
    assert lookup("useapi-pixverse").path == "/v1/pixverse/jobs/"
    assert {spec.slug for spec in specs() if spec.tasks_path} == {"useapi-pixverse"}


def test_useapi_is_a_service_of_its_own() -> None:
    """Its rows take another token and another base URL."""
    assert {spec.slug for spec in specs() if spec.service is Service.USEAPI} == {"useapi-pixverse"}


def test_some_submissions_do_not_take_async() -> None:
    """Minimax and useapi are always asynchronous; to tell them so would be an unknown field."""
    assert {spec.slug for spec in specs() if not spec.accepts_async} == {"minimax", "useapi-pixverse"}


# ---------------------------------------------------------------------------------------------- what a row answers


@pytest.mark.parametrize(
    ("duration", "expected"), [(5.3, 2.0), (60.0, 2.0), (90.0, 3.0), (154.0, 154 / 30), (450.0, 15.0), (1976.0, 15.0)]
)
def test_the_interval_is_a_share_of_the_typical_duration(duration: float, expected: float) -> None:
    """A thirtieth of the work, within 2 to 15 seconds, keeps the lateness small and the requests few."""
    spec = ProviderSpec(slug="mine", typical_duration=duration)

    assert spec.poll_interval(None) == pytest.approx(expected)


def test_a_rows_own_interval_counts_before_the_share() -> None:
    """A row whose provider documents an interval has that one."""
    assert ProviderSpec(slug="mine", interval=4.5, typical_duration=900).poll_interval(None) == 4.5


def test_a_chosen_interval_counts_before_the_rows() -> None:
    """The policy's interval is taken as it is, below the usual floor too."""
    assert ProviderSpec(slug="mine", interval=4.5).poll_interval(0.25) == 0.25
    assert ProviderSpec(slug="mine").poll_interval(60.0) == 60.0


def test_a_documented_minimum_is_kept_whatever_is_chosen() -> None:
    """useapi.net asks for at least 10 seconds between two looks at one job."""  # the service's name
    assert lookup("useapi-pixverse").poll_interval(0.5) == 10.0
    assert lookup("useapi-pixverse").poll_interval(None) == 15.0
    assert ProviderSpec(slug="mine", min_interval=10.0, interval=3.0).poll_interval(None) == 10.0


@given(st.floats(0.01, 1e6), st.none() | st.floats(0.01, 1e6), st.floats(0, 1e4), st.none() | st.floats(0.001, 1e6))
def test_an_interval_is_never_shorter_than_asked_for(
    duration: float, interval: float | None, minimum: float, chosen: float | None
) -> None:
    """No choice and no row leads below the provider's minimum or, without a choice, below the usual floor."""
    spec = ProviderSpec(slug="mine", typical_duration=duration, interval=interval, min_interval=minimum)
    found = spec.poll_interval(chosen)

    assert found >= minimum
    assert chosen is None or found == max(chosen, minimum)
    assert chosen is not None or interval is not None or max(2.0, minimum) <= found <= max(15.0, minimum)


def test_batch_sizes() -> None:
    """The policy's size, the provider's limit where it is smaller, and 1 where there is no batch call."""
    assert lookup("luma").batch_size(50) == 50
    assert ProviderSpec(slug="mine", batch_limit=12).batch_size(50) == 12
    assert ProviderSpec(slug="mine", batch_limit=12).batch_size(5) == 5
    assert {slug for slug in DOCUMENTED if lookup(slug).batch_size(50) == 1} == {
        *("captcha", "maestro", "useapi-pixverse"),
    }


@pytest.mark.parametrize("slug", ["", "Luma", "lu ma", "lu/ma", "-luma", "luma-", "a--b", "../luma", "luma\n", "lüma"])
def test_a_row_with_a_slug_that_no_path_can_have_is_refused(slug: str) -> None:
    """The slug becomes part of a URL: nothing else may come into it."""
    with pytest.raises(ValueError, match=re.escape(repr(slug))):
        ProviderSpec(slug=slug)


@pytest.mark.parametrize("slug", ["a", "7", "nano-banana", "v2.1", "my_own", "useapi-pixverse"])
def test_a_slug_of_letters_digits_and_hyphens_is_taken(slug: str) -> None:
    """Dots and underscores within are harmless too."""
    assert ProviderSpec(slug=slug).path == f"/{slug}/tasks"


@pytest.mark.parametrize(
    "paths", [{"submit_paths": ("/mine/a", "mine/b")}, {"tasks_path": "https://elsewhere.example"}]
)
def test_a_row_with_a_path_that_is_none_is_refused(paths: dict[str, object]) -> None:
    """A path without a slash would change the host that the token is sent to."""
    with pytest.raises(ValueError, match="'mine' must begin with '/'"):
        ProviderSpec(slug="mine", **paths)  # type: ignore[arg-type]  # either of the two


def test_a_row_cannot_be_changed() -> None:
    """Rows are shared by all clients of a process."""
    with pytest.raises(AttributeError):
        lookup("luma").typical_duration = 1.0  # type: ignore[misc]  # the point of the test
    with pytest.raises(AttributeError):
        ArtifactField("video_url", lookup("luma").artifacts[0].kind).path = "x"  # type: ignore[misc]  # likewise


# --------------------------------------------------------------------------------------------------- looking up


def test_a_slug_is_looked_up() -> None:
    """A known slug gives its row, the same at every time."""
    assert lookup("luma").slug == "luma"
    assert lookup("luma") is lookup("luma")


def test_an_unknown_slug_is_taken_for_a_new_provider(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """The service adds providers faster than any table: they are asked in the standard way, with a warning."""
    spec = table.lookup("hyperion")

    assert (spec.slug, spec.path, spec.tasks_call) == ("hyperion", "/hyperion/tasks", TasksCall.BATCH)
    assert spec.artifacts == table.GENERIC.artifacts
    assert spec.source
    [record] = caplog.records
    assert (record.name, record.levelno) == ("acetasks", logging.WARNING)
    assert "'hyperion' has no row" in record.getMessage()
    assert "/hyperion/tasks" in record.getMessage()
    assert "did you mean" not in record.getMessage()


def test_an_unknown_slug_is_warned_of_once(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand waits for one new provider are one line in the log."""
    rows = {id(table.lookup("hyperion")) for _ in range(3)}
    table.lookup("theia")

    assert len(rows) == 1
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("lumma", "luma"), ("pixvers", "pixverse"), ("nanobanana", "nano-banana"), ("digitalhuman", "digital-human")],
)
def test_a_mistyped_slug_is_warned_of_with_the_one_it_may_mean(
    table: ModuleType, caplog: pytest.LogCaptureFixture, mistyped: str, meant: str
) -> None:
    """A typing error is the likelier reason for an unknown slug."""
    table.lookup(mistyped)

    assert f"did you mean {meant!r}?" in caplog.text


def test_an_unknown_slug_gets_no_row(table: ModuleType) -> None:
    """What is only assumed is not listed, and can be registered without `replace`."""
    table.lookup("mine")
    assert "mine" not in {spec.slug for spec in table.specs()}

    table.register(MINE)
    assert table.lookup("mine") is MINE


@pytest.mark.parametrize("name", ["Luma", " luma", "luma ", "luma/tasks", "", "-", "luma?", "LUMA", "lu\nma"])
def test_a_name_that_can_be_no_slug_is_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It would become part of a path, so it is refused before any request, with no warning besides."""
    with pytest.raises(UnknownProviderError, match=re.escape(repr(name))) as caught:
        lookup(name)

    assert caught.value.provider == name
    assert caught.value.suggestion == suggest(name)
    assert not caplog.records


@pytest.mark.parametrize("name", [None, 5, b"luma", ["luma"], {"luma": 1}, ProviderSpec(slug="luma")], ids=repr)
def test_what_is_no_text_is_no_provider(name: object) -> None:
    """A provider that was mixed up with another argument is told of at once."""
    with pytest.raises(UnknownProviderError) as caught:
        lookup(name)  # type: ignore[arg-type]  # the point of the test

    assert (caught.value.provider, caught.value.suggestion) == (name, None)


@pytest.mark.parametrize(
    ("name", "expected"), [("Luma", "luma"), (" veo ", "veo"), ("sunno", "suno"), ("", None), ("wholly-other", None)]
)
def test_suggestions(name: str, expected: str | None) -> None:
    """The nearest known slug, in lower case and without blanks, or none where nothing is near."""
    assert suggest(name) == expected


# --------------------------------------------------------------------------------------------------- registering


def test_a_registered_row_is_found(table: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """A provider of one's own is listed and looked up like any other, without a warning."""
    table.register(MINE)

    assert table.lookup("mine") is MINE
    assert MINE in table.specs()
    assert [spec.slug for spec in table.specs()] == sorted({*DOCUMENTED, "mine"})
    assert table.suggest("minee") == "mine"
    assert not caplog.records


def test_a_row_is_not_replaced_by_accident(table: ModuleType) -> None:
    """Two parts of a program that register one slug must not silently undo each other."""
    table.register(MINE)
    other = ProviderSpec(slug="mine", source="other notes")

    with pytest.raises(ValueError, match="'mine' has a row already; pass replace=True"):
        table.register(other)
    assert table.lookup("mine") is MINE

    table.register(other, replace=True)
    assert table.lookup("mine") is other


def test_a_row_may_be_registered_with_replace_though_it_is_new(table: ModuleType) -> None:
    """`replace` allows, it does not demand."""
    table.register(MINE, replace=True)

    assert table.lookup("mine") is MINE


def test_a_replaced_row_is_what_records_are_read_by(luma: ProviderSpec) -> None:
    """A correction to a row takes effect at once, in the whole process."""
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
        ({"utc_offset": 24.0}, "UTC"),
    ],
)
def test_a_row_that_could_never_be_read_is_refused(facts: dict[str, object], message: str) -> None:
    """Words are compared in lower case, and an offset is a number of hours."""
    with pytest.raises(ValueError, match=message):
        ProviderSpec(slug="mine", **facts)  # type: ignore[arg-type]  # one at a time
