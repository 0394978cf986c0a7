"""Tests of decoded responses: artifacts, paths and finish times."""

from __future__ import annotations

import msgspec
import pytest

from acetasks import Artifact, ArtifactKind, ProtocolError
from acetasks.providers import ArtifactField, ProviderSpec
from acetasks.providers.body import ResponseBody

FILE = ArtifactKind.FILE


def read_body(
    response: object, *fields: ArtifactField, unfinished: tuple[int, ...] = (), **facts: object
) -> ResponseBody:
    """Decode a response with a spec made for the test."""
    spec = ProviderSpec(slug="mine", artifacts=fields, **facts)  # type: ignore[arg-type]  # any field of a spec
    return ResponseBody(spec, msgspec.json.encode({"response": response}), set(unfinished))


def urls(response: object, path: str, unfinished: tuple[int, ...] = ()) -> list[str]:
    """Return the URLs at a path."""
    return [found.url for found in read_body(response, ArtifactField(path, FILE), unfinished=unfinished).artifacts]


@pytest.mark.parametrize(
    ("path", "response", "expected"),
    [
        ("url", {"url": "a"}, ["a"]),
        ("data.url", {"data": {"url": "a"}}, ["a"]),
        ("data.content.url", {"data": {"content": {"url": "a"}}}, ["a"]),
        ("data.*.url", {"data": [{"url": "a"}, {"url": "b"}]}, ["a", "b"]),
        ("data.*.url", {"data": {"url": "a"}}, ["a"]),
        ("urls.*", {"urls": ["a", "b"]}, ["a", "b"]),
        ("urls.*", {"urls": "a"}, ["a"]),
        ("data.variants.*.url", {"data": {"variants": [{"url": "a"}, {"url": "b"}]}}, ["a", "b"]),
        ("data.url", {"data": [{"url": "a"}]}, []),
        ("data.*.url", {"data": None}, []),
        ("data.*.url", {"data": [None, "a", ["b"], {"url": "c"}]}, ["c"]),
        ("url", {}, []),
        ("url", None, []),
        ("url", "text", []),
    ],
)
def test_a_path_matches_values(path: str, response: object, expected: list[str]) -> None:
    """A star matches each entry of a list, or the one object sent instead; a wrong path matches nothing."""
    assert urls(response, path) == expected


def test_files_of_unfinished_items_are_ignored() -> None:
    """They are previews, or broken; positions count only the objects in the list."""
    data = [None, {"url": "a"}, {"url": "b"}, "text", {"url": "c"}]

    assert urls({"data": data}, "data.*.url", unfinished=(1,)) == ["a", "c"]
    assert urls({"data": {"url": "a"}}, "data.*.url", unfinished=(0,)) == []
    assert urls({"data": {"url": "a"}}, "data.url", unfinished=(0,)) == []
    assert urls({"data": {"content": {"url": "a"}}}, "data.content.url", unfinished=(0,)) == []
    assert urls({"url": "a", "data": {"url": "b"}}, "url", unfinished=(0,)) == ["a"]


def test_only_the_top_level_data_has_items() -> None:
    """A nested list with the name `data` does not contain items."""
    assert urls({"out": {"data": [{"url": "a"}]}}, "out.data.*.url", unfinished=(0,)) == ["a"]


def test_sizes_are_read_beside_the_url() -> None:
    """Each artifact field has its own prefix for width and height, or no size."""
    response = {"url": "a", "video_width": 8, "video_height": 6, "width": 4, "height": 0, "thumb": "b", "plain": "c"}
    found = read_body(
        response,
        ArtifactField("url", FILE, size="video"),
        ArtifactField("thumb", FILE, role="thumbnail", size=""),
        ArtifactField("plain", FILE),
    ).artifacts

    assert found == (
        Artifact(url="a", kind=FILE, width=8, height=6),
        Artifact(url="b", kind=FILE, role="thumbnail", width=4),
        Artifact(url="c", kind=FILE),
    )


def test_only_a_main_artifact_is_a_requested_file() -> None:
    """A thumbnail alone does not make a task done."""
    thumbnail = ArtifactField("thumb", FILE, role="thumbnail")

    assert read_body({"url": "a"}, ArtifactField("url", FILE), thumbnail).has_main_artifact
    assert not read_body({"thumb": "a"}, ArtifactField("url", FILE), thumbnail).has_main_artifact


def test_a_preview_is_recognised_by_its_host() -> None:
    """The prefix of the host name counts, not that of the URL or of another part."""
    field = ArtifactField("data.*.url", FILE)
    found = [
        "https://pipe.a.example/x",
        "https://cdn.example/pipe.",
        "http://a.pipe.example",
        "HTTPS://PIPE.A.EXAMPLE/y",
    ]
    response = {"data": [{"url": url} for url in found]}

    assert [it.url for it in read_body(response, field, preview_hosts=("pipe.",)).artifacts] == found[1:3]
    assert [it.url for it in read_body(response, field).artifacts] == found


def test_a_base64_file_becomes_a_data_url() -> None:
    """Openai may send images as base64 in `b64_json`."""
    [found] = read_body(
        {"data": [{"b64_json": "aGk="}]}, ArtifactField("data.*.b64_json", ArtifactKind.IMAGE)
    ).artifacts

    assert found == Artifact(url="data:image/png;base64,aGk=", kind=ArtifactKind.IMAGE)


def test_the_finish_time_is_read_from_the_path_in_the_spec() -> None:
    """It is the latest one of the items, in the time zone of the provider."""
    data = [{"end": "2025-07-25 17:21:45"}, {"end": "2025-07-25 17:20:00"}, {"end": None}]
    found = read_body({"data": data}, finished_path="data.*.end", utc_offset=8.0)

    assert found.finished_at == 1753435305.0


def test_a_missing_finish_time_is_none() -> None:
    """A record may lack the path in the spec."""
    assert read_body({"data": []}, finished_path="data.*.end").finished_at is None


def test_a_malformed_response_is_a_protocol_error() -> None:
    """A response that was skipped while the head was read can be malformed."""
    with pytest.raises(ProtocolError, match="a response"):
        ResponseBody(ProviderSpec(slug="mine"), b'{"response": {"a": 1e999}}', set())


def test_a_flat_record_is_its_own_response() -> None:
    """The artifacts of a callback are at the top level; otherwise only the response is searched."""
    spec = ProviderSpec(slug="mine", artifacts=(ArtifactField("url", FILE),))

    assert [found.url for found in ResponseBody(spec, b'{"url": "a"}', is_flat=True).artifacts] == ["a"]
    assert ResponseBody(spec, b'{"url": "a"}').artifacts == ()
