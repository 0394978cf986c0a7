"""Endpoints of midjourney whose result is a text, and those of face transformation, which has no tasks call.

The shapes are those of the service's guides (midjourney/midjourney_describe, _translate and _shorten,
face-change/face_swap, _analyze and _detect_live) and of the official clients' tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.models import ArtifactKind
from acetasks.providers.spec import ArtifactField, ProviderSpec
from acetasks.testing.endpoints import Endpoint, always, quick_endpoint
from acetasks.testing.templates import PROMPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.endpoints import Response
    from acetasks.testing.snapshot import Snapshot


def _descriptions(_snapshot: Snapshot) -> Response:
    texts = [f"{PROMPT}, in the style of {style} --ar 3:2" for style in ("a photograph", "an oil painting", "a print")]
    return {"descriptions": texts}


MIDJOURNEY_ENDPOINTS: Mapping[str, Endpoint] = {
    "/midjourney/describe": Endpoint(done=_descriptions, record_type="describe"),
    # These block whatever `async` says, and their responses have no id (observed 2026-10 for shorten).
    "/midjourney/shorten": quick_endpoint(lambda _: {"prompts": ["lighthouse, dawn", "a lighthouse"]}),
    "/midjourney/translate": quick_endpoint(lambda _: {"content": PROMPT}),
    "/midjourney/seed": quick_endpoint(lambda it: {"success": True, "seed": int(it.hex[:7], 16)}),
}


def changed_face(snapshot: Snapshot) -> Response:
    """Return the changed image."""
    return {
        "image_url": snapshot.file_url("png"),
        "image_width": 2008,
        "image_height": 1942,
        "image_size": 4_006_213,
        "task_id": snapshot.id,
    }


def _face_points(_snapshot: Snapshot) -> Response:
    points = {"left_pupil": [{"x": 310, "y": 211}], "right_pupil": [{"x": 357, "y": 225}]}
    return {"image_width": 690, "image_height": 920, "face_model_version": "3.0", "face_shape_set": [points]}


def _face_image() -> Endpoint:
    return Endpoint(done=changed_face, blocks=always)


FACE_ENDPOINTS: Mapping[str, Endpoint] = {
    **{f"/face/{name}": _face_image() for name in ("swap", "beautify", "change-age", "change-gender", "cartoon")},
    "/face/analyze": Endpoint(done=_face_points, blocks=always),
    "/face/detect-live": Endpoint(done=lambda _: {"score": 0, "face_model_version": "3.0"}, blocks=always),
}

#: Face transformation is no provider of the library: it has no tasks call, so its tasks cannot be polled.
FACE = ProviderSpec(
    slug="face",
    submit_paths=tuple(FACE_ENDPOINTS),
    artifacts=(ArtifactField("image_url", ArtifactKind.IMAGE, size="image"),),
    typical_duration=60.0,
    source="guides: face-change/face_swap",
)
