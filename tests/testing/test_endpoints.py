"""Endpoints: the submission paths beside the main one, each with the result that the service documents for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from support import now

from acetasks.models import ArtifactKind, TaskState
from acetasks.providers import lookup, specs
from acetasks.testing.samples import UNPOLLED, template_for
from acetasks.testing.snapshot import Json

if TYPE_CHECKING:
    import acetasks
    from acetasks.models import Task
    from acetasks.testing.server import AceServer

TOKEN = "test-token"
VIDEO, IMAGE, AUDIO = ArtifactKind.VIDEO, ArtifactKind.IMAGE, ArtifactKind.AUDIO


class Case(msgspec.Struct, frozen=True):
    """One submission and its result."""

    path: str
    #: Keys of `data` or of its first item; of the response itself if there is no `data`.
    keys: set[str]
    kinds: list[ArtifactKind] = []
    payload: Json = {}
    #: Whether the result is sent whatever `async` says.
    at_once: bool = False
    #: Whether an id to poll is sent whatever `async` says.
    never_blocks: bool = False

    @property
    def slug(self) -> str:
        """The provider."""
        return self.path.split("/")[1]


CASES = [
    Case("/suno/lyrics", {"text", "title", "tags", "status"}, at_once=True),
    Case("/suno/mashup-lyrics", {"text", "title", "tags", "status"}, at_once=True),
    Case("/suno/style", {"upsampled_tags"}, at_once=True),
    Case("/suno/persona", {"persona_id"}, at_once=True),
    Case("/suno/availability", {"available"}, at_once=True),
    Case("/suno/voices", {"persona_id", "name", "is_public"}),
    Case("/suno/upload", {"audio_id", "lyric", "audio_url"}, [AUDIO, IMAGE]),
    Case("/suno/upload", {"audio_id", "audio_url"}, [AUDIO, IMAGE], {"mode": "enhanced"}, never_blocks=True),
    Case("/suno/mp4", {"video_url"}, [VIDEO]),
    Case("/suno/mp3", {"file_url"}, [AUDIO]),
    Case("/suno/wav", {"file_url"}, [AUDIO]),
    Case("/suno/midi", {"file_url"}, [AUDIO]),
    Case("/suno/vox", {"id", "source_clip_id", "vocal_audio_url"}, [AUDIO]),
    Case("/suno/timing", {"aligned_words"}),
    Case("/suno/custom-models", {"id", "status"}, payload={"action": "create", "name": "Mine"}, never_blocks=True),
    Case("/suno/custom-models", {"audio_url", "image_url"}, [AUDIO, AUDIO, IMAGE, IMAGE], {"action": "generate"}),
    Case("/suno/custom-models", {"id", "name", "status"}, payload={"action": "retrieve", "id": "m"}, at_once=True),
    Case("/suno/custom-models", {"id", "capacity_released"}, payload={"action": "delete", "id": "m"}, at_once=True),
    Case("/suno/projects", {"id", "title", "state"}, payload={"action": "create"}, at_once=True),
    Case("/suno/projects", {"id", "version_id"}, payload={"action": "save", "id": "p"}, at_once=True),
    Case("/suno/projects", {"render_id", "audio_id", "audio_url"}, [AUDIO], {"action": "render"}, never_blocks=True),
    Case("/suno/projects", {"candidate"}, payload={"action": "upload", "id": "p"}, never_blocks=True),
    Case("/suno/projects", {"candidates", "operation_id"}, payload={"action": "replace_section"}, never_blocks=True),
    Case("/suno/projects", {"id", "version_id"}, payload={"action": "add_track", "id": "p"}, never_blocks=True),
    Case("/producer/lyrics", {"title", "lyrics"}),
    Case("/producer/upload", {"audio_id", "lyric", "audio_url"}, [AUDIO]),
    Case("/producer/videos", {"video_url"}, [VIDEO]),
    Case("/producer/wav", {"title", "file_url"}, [AUDIO]),
    Case("/digital-human/voices", {"voice_id", "state"}),
    Case("/fish/model", {"_id", "title", "state"}, at_once=True),
    Case("/midjourney/describe", {"descriptions"}),
    Case("/midjourney/shorten", {"prompts"}, at_once=True),
    Case("/midjourney/translate", {"content"}, at_once=True),
    Case("/midjourney/seed", {"seed"}, at_once=True),
    Case("/pixverse/character", {"asset_id"}),
    Case("/flux/videos", {"model", "video_url", "seconds", "width", "height", "fps"}, [VIDEO]),
    Case("/kling/goods-studio", {"video_url"}, [VIDEO]),
    Case("/kling/video-commerce", {"video_url"}, [VIDEO]),
    Case("/kling/apparel", {"video_url"}, [VIDEO]),
    Case("/kling/virtual-try-on", {"image_url"}, [IMAGE]),
    Case("/kling/elements", {"element_id"}, payload={"action": "create"}, at_once=True),
    Case("/kling/voices", {"voice_id"}, payload={"action": "presets"}, at_once=True),
    Case("/veo/extend", {"video_url", "complete_at"}, [VIDEO]),
    Case("/veo/reshoot", {"video_url", "complete_at"}, [VIDEO]),
    Case("/veo/objects", {"video_url", "complete_at"}, [VIDEO]),
    Case("/veo/upsample", {"video_url", "complete_at"}, [VIDEO]),
    Case("/webextrator/extract", {"kind", "markdown"}),
    Case("/webextrator/render", {"kind", "html", "status"}),
]
IDS = [" ".join(filter(None, (case.path, str(case.payload.get("action", ""))))) for case in CASES]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=IDS)


def check_result(case: Case, task: Task) -> None:
    """Check a finished task's artifacts, and the result in its record or response."""
    assert (task.state, task.error) == (TaskState.SUCCEEDED, None)
    assert [artifact.kind for artifact in task.artifacts] == case.kinds
    record = msgspec.json.decode(task.raw)
    response = record.get("response", record)
    data = response.get("data", response)
    first = data[0] if isinstance(data, list) else data
    assert case.keys <= first.keys()


class TestClient:
    """Submissions by the library's own client."""

    @EVERY_CASE
    async def test_result_is_awaited(self, server: AceServer, client: acetasks.Client, case: Case) -> None:
        """A submission with `async: true` leads to the documented result, at once or by polling."""
        server.script(case.slug, after=60)
        start = now()
        handle = await client.submit(case.slug, case.payload, path=case.path)
        assert now() - start == (60.0 if case.at_once else 0.0)
        check_result(case, await handle.wait(timeout=300))
        assert {request.path for request in server.requests[1:]} == (
            set() if case.at_once else {lookup(case.slug).path}
        )

    @EVERY_CASE
    async def test_blocking_result(self, server: AceServer, client: acetasks.Client, case: Case) -> None:
        """A submission with `async: false` is answered with the result, unless the path never blocks."""
        server.script(case.slug, after=60)
        handle = await client.submit(case.slug, {**case.payload, "async": False}, path=case.path)
        check_result(case, await handle.wait(timeout=300))
        assert (len(server.requests) > 1) is case.never_blocks

    async def test_flux_video_has_its_size(self, client: acetasks.Client) -> None:
        """A flux video has a size; a flux image has none."""
        task = await client.run("flux", {"prompt": "a fog"}, path="/flux/videos")
        (video,) = task.artifacts
        assert (video.width, video.height) == (1280, 704)


class TestAnswers:
    """Responses as other clients see them."""

    @staticmethod
    async def post(server: AceServer, path: str, body: Json) -> Json:
        """Send a submission and return the response's JSON."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(server.url + path, json=body, headers=headers) as response,
        ):
            assert response.status == 200
            return msgspec.json.decode(await response.read())

    @pytest.mark.parametrize("path", ["/suno/lyrics", "/suno/persona", "/kling/voices"])
    async def test_answers_at_once_have_an_id_and_times(self, server: AceServer, path: str) -> None:
        """Such an answer has the id of a task that can be retrieved, whose record has the result without the times."""
        body = await self.post(server, path, {"async": True})
        assert {"success", "task_id", "data", "started_at", "finished_at", "elapsed"} <= body.keys()
        record = await self.post(server, f"/{path.split('/')[1]}/tasks", {"id": body["task_id"], "action": "retrieve"})
        assert record["response"] == {"success": True, **{key: body[key] for key in ("task_id", "trace_id", "data")}}

    @pytest.mark.parametrize(
        "path", ["/midjourney/shorten", "/midjourney/translate", "/midjourney/seed", "/fish/model"]
    )
    async def test_some_answers_have_no_id(self, server: AceServer, path: str) -> None:
        """These answers have a result and no id of a task."""
        assert "task_id" not in await self.post(server, path, {"async": True})

    async def test_new_custom_model_is_queued(self, server: AceServer) -> None:
        """The acknowledgement of a new model has its id, and that it is queued."""
        body = await self.post(server, "/suno/custom-models", {"action": "create"})
        assert body["data"]["status"] == "queued"  # type: ignore[index]
        assert body["task_id"] == next(iter(server.tasks))

    async def test_blocking_speech_is_only_a_url(self, server: AceServer) -> None:
        """A blocking submission to fish is answered with the URL and nothing else."""
        assert (await self.post(server, "/fish/tts", {"text": "hello"})).keys() == {"audio_url"}

    @pytest.mark.parametrize("path", ["/webextrator/render", "/webextrator/extract"])
    async def test_blocking_page_has_times(self, server: AceServer, path: str) -> None:
        """A blocking submission to webextrator is answered with the page and the times of the work."""
        body = await self.post(server, path, {"url": "https://example.com"})
        assert {"success", "task_id", "trace_id", "data", "started_at", "finished_at", "elapsed"} == body.keys()
        assert body["data"]["kind"] == path.split("/")[2]  # type: ignore[index]

    async def test_added_task_has_the_result_of_its_path(self, server: AceServer, client: acetasks.Client) -> None:
        """A task that is added with a path has that path's result."""
        task = await client.wait("suno", server.add("suno", after=5, path="/suno/wav"))
        assert [artifact.url.rpartition(".")[2] for artifact in task.artifacts] == ["wav"]

    async def test_unfinished_record_has_no_songs(self, server: AceServer) -> None:
        """The record of an unfinished conversion does not have suno's unfinished songs."""
        server.script("suno", after=60)
        ack = await self.post(server, "/suno/wav", {"async": True})
        record = await self.post(server, "/suno/tasks", {"id": ack["task_id"], "action": "retrieve"})
        assert "response" not in record

    @pytest.mark.parametrize("path", ["/face/swap", "/face/beautify", "/face/change-age", "/face/cartoon"])
    async def test_face_is_changed_at_once(self, server: AceServer, path: str) -> None:
        """Face transformation blocks whatever `async` says, and its response is flat."""
        body = await self.post(server, path, {"async": True})
        assert body.keys() == {"image_url", "image_width", "image_height", "image_size", "task_id"}

    async def test_face_analysis_has_no_file(self, server: AceServer) -> None:
        """The analysis of a face is numbers."""
        assert "face_shape_set" in await self.post(server, "/face/analyze", {})
        assert "score" in await self.post(server, "/face/detect-live", {})


def test_every_endpoint_is_a_path_of_its_provider() -> None:
    """Endpoints of a template are submission paths, and every side path but veo's has a result of its own."""
    for spec in (*specs(), *UNPOLLED):
        assert set(template_for(spec.slug).endpoints) <= set(spec.submit_paths)
    covered = {case.path for case in CASES}
    for slug in ("suno", "producer", "flux", "pixverse"):
        assert set(lookup(slug).submit_paths[1:]) <= covered
