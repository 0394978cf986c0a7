"""Tests of the typed responses, against the documented samples."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from acetasks import (
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    ProtocolError,
    Task,
    TaskState,
    UseapiPixverseJob,
    VeoResponse,
    normalize,
)
from acetasks.providers import FluxImage, PixverseVideo, UseapiAttachment, VeoVideo

SAMPLES = Path(__file__).parents[1] / "samples"
TYPES = {
    "luma": LumaResponse,
    "veo": VeoResponse,
    "pixverse": PixverseResponse,
    "flux": FluxResponse,
    "useapi-pixverse": UseapiPixverseJob,
}
PAYLOADS = {
    f"{slug}/{path.stem}": json.loads(path.read_bytes())["payload"]
    for slug in TYPES
    for path in sorted((SAMPLES / slug).glob("*.json"))
}
#: The samples with a response, in any state.
WITH_RESPONSE = {name: body for name, body in PAYLOADS.items() if {"response", "success", "jobid"} & body.keys()}


def read(name: str) -> Task:
    """Read the task of a sample."""
    return normalize(name.split("/", maxsplit=1)[0], PAYLOADS[name])


def test_documented_response_of_luma() -> None:
    """One video with its thumbnail."""
    response = read("luma/succeeded_documented_1").decode(LumaResponse)
    base = "https://platform.cdn.acedata.cloud/luma/50fc6182-fa86-4c7d-ac12-2fa27ec2f151"

    assert response == LumaResponse(
        success=True,
        task_id="50fc6182-fa86-4c7d-ac12-2fa27ec2f151",
        video_id="4b088fc8-2bbc-4706-80a6-a0fb118adc1a",
        prompt="Astronauts shuttle from space to volcano",
        state="completed",
        video_url=base + ".mp4",
        video_width=1360,
        video_height=752,
        thumbnail_url=base + ".jpg",
        thumbnail_width=1360,
        thumbnail_height=752,
    )


def test_documented_response_of_veo() -> None:
    """A list of videos; their times remain texts."""
    response = read("veo/succeeded_documented").decode(VeoResponse)

    assert response == VeoResponse(
        success=True,
        task_id="1ebe4f2b-59ba-4385-a4ea-0ce8a3fe12ed",
        trace_id="d1d53c04-58c5-4c40-bb63-f00188540e56",
        data=[
            VeoVideo(
                id="2f43ceed37944b4d836e1a1899dad0a1",
                video_url="https://platform.cdn.acedata.cloud/veo/1ebe4f2b-59ba-4385-a4ea-0ce8a3fe12ed.mp4",
                state="succeeded",
                created_at="2025-07-25 17:19:20",
                complete_at="2025-07-25 17:21:45",
            )
        ],
    )


def test_documented_response_of_pixverse() -> None:
    """A list of videos; fields that the type lacks are ignored."""
    response = read("pixverse/succeeded_documented_1").decode(PixverseResponse)

    assert (response.success, response.task_id) == (True, "e3d52b98-b944-438e-b122-1a9141b5626c")
    assert response.trace_id == "ab568894-5536-4b47-97c6-8936fddf6ce7"
    assert response.data == [
        PixverseVideo(
            id=317384746578432,
            video_url="https://media.pixverse.ai/pixverse%2Fmp4%2Fmedia%2Fweb%2F"
            "2c8425c5-f772-4add-ad73-e9265f68e336_seed0.mp4",
            video_width=0,
            video_height=0,
            first_frame="",
            last_frame="",
            prompt="quiver",
            model="v3.5",
            quality="360p",
            motion="normal",
            style="",
            aspect_ratio="16:9",
            duration=5.0,
            seed=0,
        )
    ]


def test_documented_response_of_flux() -> None:
    """A list of images with their timings."""
    response = read("flux/succeeded_documented_1").decode(FluxResponse)

    assert (response.success, response.task_id) == (True, "2db0168c-2373-4367-8d9a-9dc778802e8a")
    assert response.trace_id == "6624929c-bb80-40c0-81e8-d96af8405d19"
    assert response.data == [
        FluxImage(
            image_url="https://sf-maas-uat-prod.oss-cn-shanghai.aliyuncs.com/outputs/"
            "57d9ff7c-5a00-409e-9dcc-90f35b38d16e_0.png",
            prompt="a white siamese cat",
            seed=281520112,
            timings={"inference": 3.193},
        )
    ]


def test_documented_job_of_useapi() -> None:
    """A job is a flat record, with its files in `attachments`."""
    job = read("useapi-pixverse/succeeded").decode(UseapiPixverseJob)

    assert (job.jobid, job.status, job.verb) == ("<jobid>", "completed", "pixverse-create_single")
    assert (job.created, job.updated) == ("2023-09-09T02:04:49.667Z", "2023-09-09T02:19:20.256Z")
    assert (job.error, job.error_details, job.code) == (None, None, 200)
    assert job.attachments == [
        UseapiAttachment(
            url="<generated video url>",
            proxy_url="<generated proxy video url>",
            width=768,
            height=768,
            content_type="<generated video type>",
            id="<Discord attachment id>",
            filename="<generated video filename>",
            size=7204115,
        )
    ]


def test_failed_job_of_useapi() -> None:
    """The key of its details is in camel case."""
    job = read("useapi-pixverse/failed").decode(UseapiPixverseJob)

    assert (job.status, job.error, job.error_details) == ("failed", "<error>", "<details>")
    assert job.attachments == []


@pytest.mark.parametrize("name", WITH_RESPONSE)
def test_every_sample_with_a_response_decodes(name: str) -> None:
    """A typed response fits unfinished, finished and failed tasks of its provider, field by field."""
    sent = WITH_RESPONSE[name].get("response", WITH_RESPONSE[name])

    decoded = msgspec.to_builtins(read(name).decode(TYPES[name.split("/", maxsplit=1)[0]]))

    assert decoded.keys() >= sent.keys() & {"task_id", "state", "jobid", "status", "data", "attachments"}
    plain = sent.keys() & decoded.keys() - {"data", "attachments"}
    assert {field: decoded[field] for field in plain} == {field: sent[field] for field in plain}


@pytest.mark.parametrize("slug", ["luma", "veo", "pixverse", "flux"])
@pytest.mark.parametrize("empty", [{}, {"success": None, "data": None, "task_id": None}, {"error": {"message": "m"}}])
def test_missing_fields_have_defaults(slug: str, empty: dict[str, object]) -> None:
    """Providers omit fields or send null: `data: null` is sent with finished tasks."""
    response = normalize(slug, {"id": "a", "finished_at": 5, "response": empty}).decode(TYPES[slug])

    assert not response.success
    assert not response.task_id
    assert not getattr(response, "data", None)


@pytest.mark.parametrize(
    ("slug", "response"),
    [
        ("luma", {"state": "completed", "video_url": 5}),
        ("luma", {"state": "completed", "video_width": "wide"}),
        ("veo", {"data": {"video_url": "u", "state": "succeeded"}}),
        ("veo", {"data": ["u"], "status": "done"}),
        ("pixverse", {"data": [{"video_url": "u", "id": "a"}]}),
        ("flux", {"data": [{"image_url": "u", "seed": [1]}]}),
    ],
)
def test_a_response_that_does_not_fit_the_type_is_a_protocol_error(slug: str, response: dict[str, object]) -> None:
    """The task is done in any case; the error names the type, the task and the path."""
    task = normalize(slug, {"id": "a-task", "response": response})
    assert task.state is TaskState.SUCCEEDED

    message = rf"{slug} task a-task does not fit {TYPES[slug].__name__} .*at `\$"
    with pytest.raises(ProtocolError, match=message) as caught:
        task.decode(TYPES[slug])
    assert caught.value.excerpt == json.dumps(response, separators=(",", ":"))
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_custom_types_are_supported() -> None:
    """Any type that msgspec decodes: a Struct with some of the fields, a dict, a union."""

    class Custom(msgspec.Struct, forbid_unknown_fields=False):
        video_url: str
        width: int = msgspec.field(name="video_width")

    task = normalize("luma", {"id": "a", "response": {"state": "completed", "video_url": "u", "video_width": 8}})

    assert task.decode(Custom) == Custom(video_url="u", width=8)
    assert task.decode(dict[str, str | int]) == {"state": "completed", "video_url": "u", "video_width": 8}
    with pytest.raises(ProtocolError, match=r"does not fit dict"):
        task.decode(dict[str, int])


def test_a_custom_type_can_reject_a_response() -> None:
    """A ValueError in `__post_init__` of the type is a `ProtocolError`."""

    class Strict(msgspec.Struct):
        video_url: str

        def __post_init__(self) -> None:
            if not self.video_url.startswith("https://"):
                msg = "no HTTPS"
                raise ValueError(msg)

    task = normalize("luma", {"id": "a", "response": {"video_url": "http://example.com/a.mp4"}})

    with pytest.raises(ProtocolError, match="no HTTPS"):
        task.decode(Strict)


@pytest.mark.parametrize("record", [{"id": "a-task"}, {"id": "a-task", "response": None}])
def test_a_task_without_a_response_cannot_be_decoded(record: dict[str, object]) -> None:
    """The error says that there is no response yet."""
    with pytest.raises(ProtocolError, match="luma task a-task has no response yet: it is pending"):
        normalize("luma", record).decode(LumaResponse)
