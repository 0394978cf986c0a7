"""Provider table: one spec per provider, and the only place that contains provider names.

The facts are from the services' own documents as of November 2026: the guides and OpenAPI files of Ace Data Cloud
(docs.acedata.cloud, with the page in `source`) and the PixVerse v1 pages of useapi.net. The submission paths are also
those of the official SDK 2026.10.20, MCP servers and command-line tools of October 2026. A typical duration is that of
the documented sample. If there is no sample, `source` says "duration: by kind", and the value is that of the most
similar provider.
"""

from __future__ import annotations

import difflib
import logging
import re

from acetasks.errors import UnknownProviderError
from acetasks.models import ArtifactKind
from acetasks.providers.spec import SLUG, ArtifactField, HistoryCall, ProviderSpec, Service, TasksCall, Word

_logger = logging.getLogger("acetasks")

#: Length from which an unknown slug is compared with the known ones: most names of three letters are a letter apart.
_TYPED_LENGTH = 4
_SEPARATORS, _LETTERS = re.compile(r"[._-]"), re.compile("[a-z]")

_VIDEO, _IMAGE, _AUDIO = ArtifactKind.VIDEO, ArtifactKind.IMAGE, ArtifactKind.AUDIO

#: The three usual forms: a list of videos, a list of images, one video.
_VIDEOS = (ArtifactField("data.*.video_url", _VIDEO),)
_IMAGES = (ArtifactField("data.*.image_url", _IMAGE),)
_ONE_VIDEO = (ArtifactField("video_url", _VIDEO),)
_ONE_IMAGE = (ArtifactField("image_url", _IMAGE),)
#: Songs have a cover, and a video if one was requested.
_SONGS = (
    ArtifactField("data.*.audio_url", _AUDIO),
    ArtifactField("data.*.video_url", _VIDEO),
    ArtifactField("data.*.file_url", _AUDIO),
    ArtifactField("data.*.vocal_audio_url", _AUDIO),
    ArtifactField("data.*.midi_url", ArtifactKind.FILE),
    ArtifactField("data.*.image_url", _IMAGE, role="cover"),
)

#: Template for the spec of an unknown provider: the standard call, and every usual artifact field.
GENERIC = ProviderSpec(
    slug="generic",
    artifacts=(
        *_SONGS[:2],
        *_IMAGES,
        ArtifactField("data.*.url", ArtifactKind.FILE),
        *_ONE_VIDEO,
        ArtifactField("audio_url", _AUDIO),
        ArtifactField("image_url", _IMAGE),
    ),
    source="guides: concepts/async-tasks",
)

#: Providers that answer their submissions at once, and have no tasks call.
_WITHOUT_TASKS = frozenset({"face", "kickart"})

_SPECS = (
    ProviderSpec(
        slug="captcha",
        submit_paths=(
            "/captcha/token/hcaptcha",
            "/captcha/token/recaptcha2",
            "/captcha/token/recaptcha3",
            "/captcha/token/turnstile",
            "/captcha/recognition/hcaptcha",
            "/captcha/recognition/recaptcha2",
            "/captcha/recognition/image2text",
        ),
        tasks_call=TasksCall.BARE,
        id_field="task_id",
        task_statuses=frozenset({504}),
        callback_field=None,  # SDK 2026.10.20: its submissions have `async`, and no callback
        history_call=HistoryCall.NONE,
        typical_duration=12.0,
        source="guides: hcaptcha/captcha_tasks (the result is a token or a text, not a file)",
    ),
    ProviderSpec(
        slug="digital-human",
        submit_paths=("/digital-human/videos", "/digital-human/voices"),
        id_field="task_id",
        ids_field="task_id",
        artifacts=(ArtifactField("video_url", _VIDEO, size=""),),
        typical_duration=600.0,
        source="openapi: digitalhuman (duration: by kind)",
    ),
    ProviderSpec(
        slug="dreamina",
        submit_paths=("/dreamina/videos",),
        artifacts=_VIDEOS,
        input_paths=("data.*.image_url", "data.*.audio_url"),
        # It returns `{}` until the first result exists, so the grace period has to exceed a slow task.
        missing_grace=600.0,
        finds_traces=True,
        typical_duration=47.3,
        source="guides: dreamina/dreamina_tasks (its other URLs are those of the inputs)",
    ),
    ProviderSpec(
        slug="fish",
        submit_paths=("/fish/tts", "/fish/model"),
        artifacts=(ArtifactField("data.*.audio_url", _AUDIO), ArtifactField("audio_url", _AUDIO)),
        words={"trained": Word.DONE},
        typical_duration=10.0,
        source="guides: fish/fish_tasks, fish/fish_tts, fish/fish_model (duration: by kind)",
    ),
    ProviderSpec(
        slug="flux",
        submit_paths=("/flux/images", "/flux/videos"),
        artifacts=(*_IMAGES, ArtifactField("data.*.video_url", _VIDEO, size="")),
        typical_duration=3.2,
        source="guides: flux/flux_tasks, flux/flux_generate_video",
    ),
    ProviderSpec(
        slug="gemini",
        submit_paths=("/gemini/videos",),
        artifacts=_VIDEOS,
        typical_duration=145.0,
        source="guides: gemini/gemini_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="grok",
        submit_paths=("/grok/videos",),
        artifacts=_VIDEOS,
        typical_duration=145.0,
        source="guides: grok-video/grok_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="hailuo",
        submit_paths=("/hailuo/videos",),
        artifacts=(*_VIDEOS, ArtifactField("content.url", _VIDEO)),
        finished_path="updated_at",
        typical_duration=300.0,
        source="guides: hailuo/hailuo_tasks (may use minimax's response format; duration: by kind)",
    ),
    ProviderSpec(
        slug="happyhorse",
        submit_paths=("/happyhorse/videos",),
        artifacts=_VIDEOS,
        typical_duration=145.0,
        source="guides: happyhorse/happyhorse_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="headshots",
        submit_paths=("/headshots/generate",),
        artifacts=_IMAGES,
        words={"unknown": Word.RUNNING},
        typical_duration=60.0,
        source="guides: drawai/headshots_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="kling",
        submit_paths=(
            "/kling/videos",
            "/kling/motion",
            "/kling/lip-sync",
            "/kling/talking-photo",
            "/kling/goods-studio",
            "/kling/video-commerce",
            "/kling/apparel",
            "/kling/virtual-try-on",
            "/kling/elements",
            "/kling/voices",
        ),
        artifacts=(*_ONE_VIDEO, *_VIDEOS, *_IMAGES),
        typical_duration=317.0,
        source="guides: kling/kling_tasks, kling/kling_goods_studio (files in `data`)",
    ),
    ProviderSpec(
        slug="luma",
        submit_paths=("/luma/videos",),
        artifacts=(
            ArtifactField("video_url", _VIDEO, size="video"),
            ArtifactField("thumbnail_url", _IMAGE, role="thumbnail", size="thumbnail"),
        ),
        typical_duration=154.0,
        source="guides: luma/luma_tasks",
    ),
    ProviderSpec(
        slug="maestro",
        submit_paths=("/maestro/videos",),
        tasks_call=TasksCall.SINGLE,
        accepts_async=False,
        artifacts=(ArtifactField("data.variants.*.output_url", _VIDEO),),
        typical_duration=1976.0,
        source="guides: maestro/maestro_tasks (always asynchronous; its batch call lists the history, not the ids)",
    ),
    ProviderSpec(
        slug="midjourney",
        submit_paths=(
            "/midjourney/imagine",
            "/midjourney/edits",
            "/midjourney/videos",
            "/midjourney/describe",
            "/midjourney/seed",
            "/midjourney/shorten",
            "/midjourney/translate",
        ),
        artifacts=(
            ArtifactField("video_urls.*", _VIDEO),
            ArtifactField("image_url", _IMAGE, size="image", cover_of="video_urls.*"),
            ArtifactField("sub_image_urls.*", _IMAGE),
            ArtifactField("raw_image_url", _IMAGE, role="raw", size="raw_image"),
        ),
        finds_traces=True,
        typical_duration=29.4,
        source="guides: midjourney/midjourney_tasks",
    ),
    ProviderSpec(
        slug="minimax",
        submit_paths=("/minimax/videos",),
        artifacts=(ArtifactField("content.url", _VIDEO), *_VIDEOS),
        finished_path="updated_at",
        accepts_async=False,
        history_call=HistoryCall.SINGLE,
        history_reach=604_800.0,
        typical_duration=417.0,
        source="openapi: minimax (always asynchronous; older documents have `data`; tasks of 7 days)",
    ),
    ProviderSpec(
        slug="nano-banana",
        submit_paths=("/nano-banana/images",),
        artifacts=(*_IMAGES, *_ONE_IMAGE),
        typical_duration=11.3,
        source="guides: nano-banana/nanobanana_tasks",
    ),
    ProviderSpec(
        slug="openai",
        submit_paths=("/openai/images/generations", "/openai/images/edits"),
        artifacts=(ArtifactField("data.*.url", _IMAGE), ArtifactField("data.*.b64_json", _IMAGE)),
        finds_traces=True,
        typical_duration=29.4,
        source="guides: openai/openai_tasks (a task is stored only if its request had a callback_url)",
    ),
    ProviderSpec(
        slug="pika",
        submit_paths=("/pika/videos",),
        artifacts=(*_VIDEOS, ArtifactField("data.*.image_url", _IMAGE, role="thumbnail")),
        typical_duration=120.0,
        source="guides: pika/pika_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="pixverse",
        submit_paths=("/pixverse/videos", "/pixverse/character"),
        artifacts=(
            ArtifactField("data.*.video_url", _VIDEO, size="video"),
            ArtifactField("data.*.first_frame", _IMAGE, role="frame"),
            ArtifactField("data.*.last_frame", _IMAGE, role="frame"),
        ),
        typical_duration=90.0,
        source="guides: pixverse/pixverse_tasks, pixverse/pixverse_character (duration: by kind)",
    ),
    ProviderSpec(
        slug="producer",
        submit_paths=("/producer/audios", "/producer/lyrics", "/producer/videos", "/producer/wav", "/producer/upload"),
        artifacts=_SONGS,
        typical_duration=40.1,
        source="guides: producer/producer_tasks",
    ),
    ProviderSpec(
        slug="qrart",
        submit_paths=("/qrart/generate",),
        artifacts=(ArtifactField("image_url", _IMAGE, size="image"),),
        typical_duration=15.0,
        source="guides: qrart/qrart_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="qwen-image",
        submit_paths=("/qwen-image/images",),
        artifacts=_IMAGES,
        typical_duration=11.3,
        source="openapi: qwen-image (duration: by kind)",
    ),
    ProviderSpec(
        slug="seedance",
        submit_paths=("/seedance/videos",),
        artifacts=(
            *_VIDEOS,
            ArtifactField("data.*.content.video_url", _VIDEO),
            ArtifactField("data.*.last_frame_url", _IMAGE, role="frame"),
        ),
        typical_duration=81.9,
        source="guides: seedance/seedance_tasks; openapi: seedance (a list)",
    ),
    ProviderSpec(
        slug="seedream",
        submit_paths=("/seedream/images",),
        artifacts=_IMAGES,
        typical_duration=11.3,
        source="guides: seedream/seedream_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="sora",
        submit_paths=("/sora/videos",),
        artifacts=_VIDEOS,
        typical_duration=145.0,
        source="guides: sora/sora_tasks (duration: by kind)",
    ),
    ProviderSpec(
        slug="suno",
        submit_paths=(
            "/suno/audios",
            "/suno/lyrics",
            "/suno/mashup-lyrics",
            "/suno/mp4",
            "/suno/mp3",
            "/suno/wav",
            "/suno/midi",
            "/suno/timing",
            "/suno/vox",
            "/suno/voices",
            "/suno/persona",
            "/suno/style",
            "/suno/upload",
            "/suno/custom-models",
            "/suno/projects",
            "/suno/availability",
        ),
        artifacts=(
            _SONGS[0],
            # A song has the URL of a video that exists only after a call of /suno/mp4.
            ArtifactField("data.*.video_url", _VIDEO, placeholder_host="cdn1.suno.ai"),
            *_SONGS[2:],
        ),
        preview_hosts=("audiopipe.",),
        typical_duration=38.4,
        source="guides: suno/suno_tasks, suno/suno_audios (stream section)",
    ),
    ProviderSpec(
        slug="veo",
        submit_paths=("/veo/videos", "/veo/extend", "/veo/reshoot", "/veo/objects", "/veo/upsample"),
        artifacts=_VIDEOS,
        finished_path="data.*.complete_at",
        utc_offset=8.0,
        finds_traces=True,
        typical_duration=145.0,
        source="guides: veo/veo_tasks (times in `data` are in UTC+8, without a time zone)",
    ),
    ProviderSpec(
        slug="wan",
        submit_paths=("/wan/videos",),
        artifacts=(
            *_ONE_VIDEO,
            *_VIDEOS,
            ArtifactField("thumbnail_url", _IMAGE, role="thumbnail"),
            ArtifactField("data.*.thumbnail_url", _IMAGE, role="thumbnail"),
        ),
        typical_duration=787.0,
        source="guides: wan/wan_tasks (wan 3.0 has its file in `data`)",
    ),
    ProviderSpec(
        slug="webextrator",
        submit_paths=("/webextrator/render", "/webextrator/extract"),
        finds_traces=True,
        typical_duration=5.3,
        source="openapi: webextrator (the result is the page's content, not a file)",
    ),
    ProviderSpec(
        slug="useapi-pixverse",
        service=Service.USEAPI,
        submit_paths=("/v1/pixverse/create_single", "/v1/pixverse/create"),
        tasks_path="/v1/pixverse/jobs/",
        tasks_call=TasksCall.QUERY,
        id_field="jobid",
        artifacts=(ArtifactField("attachments.*.url", _VIDEO, size=""),),
        failed_statuses=frozenset({410}),
        finished_path="updated",
        min_interval=10.0,
        accepts_async=False,
        callback_field="replyUrl",
        history_call=HistoryCall.NONE,
        typical_duration=900.0,
        source="useapi.net: docs/api-pixverse-v1 (get-pixverse-jobid, post-pixverse-create_single)",
    ),
)

_table: dict[str, ProviderSpec] = {spec.slug: spec for spec in _SPECS}
#: Specs of unknown providers that were looked up.
_generic_specs: dict[str, ProviderSpec] = {}


def specs() -> tuple[ProviderSpec, ...]:
    """Return the spec of every known provider, including registered ones, sorted by slug."""
    return tuple(_table[slug] for slug in sorted(_table))


def register(spec: ProviderSpec, *, replace: bool = False) -> None:
    """Add a provider, for every client of this process.

    Args:
        spec: The provider spec.
        replace: Whether to replace an existing spec with the same slug.

    Raises:
        ValueError: A spec with this slug exists and `replace` is false.
    """
    if spec.slug in _table and not replace:
        raise ValueError(f"provider {spec.slug!r} is already registered; pass replace=True to replace its spec")
    _table[spec.slug] = spec
    _generic_specs.pop(spec.slug, None)


def lookup(provider: str) -> ProviderSpec:
    """Return the spec of a provider.

    An unknown but valid slug gets the generic spec, because the service adds providers faster than this table; the
    first lookup of each is logged. One that is a letter away from a known slug is taken for a typing error.

    Args:
        provider: The slug, such as `luma`.

    Returns:
        The provider spec.

    Raises:
        UnknownProviderError: `provider` is not a valid slug, or nearly that of a known provider. If the service has
            such a provider, `register` it.
    """
    name: object = provider
    if not isinstance(name, str):
        raise UnknownProviderError(name)
    spec = _table.get(name) or _generic_specs.get(name)
    if spec is not None:
        return spec
    if not SLUG.fullmatch(name):
        raise UnknownProviderError(name, suggestion=suggest(name))
    if meant := _find_meant(name):
        raise UnknownProviderError(name, suggestion=meant)
    spec = _generic_specs[name] = _build_generic_spec(name)
    suggestion = suggest(name)
    _logger.warning(
        "provider %r is not known%s: using the generic spec, polling at %s",
        name,
        f" (did you mean {suggestion!r}?)" if suggestion else "",
        spec.path,
    )
    return spec


def suggest(provider: str) -> str | None:
    """Return the known slug most similar to a mistyped one, or None."""
    matches = difflib.get_close_matches(provider.strip().lower(), list(_table), n=1, cutoff=0.7)
    return matches[0] if matches else None


def _find_meant(slug: str) -> str | None:
    """Return the known slug that differs from an unknown one by a typing error, or None.

    Short names are too easily those of another provider, and another number (`sora2`) is likely a new one.
    """
    if len(slug) < _TYPED_LENGTH:
        return None
    typed = _SEPARATORS.sub("", slug)
    for name in _table:
        meant = _SEPARATORS.sub("", name)
        if len(meant) >= _TYPED_LENGTH and _is_one_error(typed, meant):
            has_same_numbers = _LETTERS.sub("", typed) == _LETTERS.sub("", meant)
            return name if has_same_numbers else None
    return None


def _is_one_error(typed: str, meant: str) -> bool:
    """Return whether at most one letter is missing, added, wrong or swapped with the next one."""
    pairs = zip(typed, meant, strict=False)
    start = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(typed), len(meant)))
    typed, meant = typed[start:], meant[start:]
    is_swapped = typed[:2] == meant[:2][::-1] and typed[2:] == meant[2:]
    return is_swapped or typed[1:] == meant[1:] or typed[1:] == meant or typed == meant[1:]


def _build_generic_spec(slug: str) -> ProviderSpec:
    history_call = HistoryCall.NONE if slug in _WITHOUT_TASKS else HistoryCall.BATCH
    return ProviderSpec(slug=slug, artifacts=GENERIC.artifacts, source=GENERIC.source, history_call=history_call)
