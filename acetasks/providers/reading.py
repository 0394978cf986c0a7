"""The values of a record: texts, times, progress, errors and artifacts, in the spellings that services use.

Each function takes one value of any JSON type and never fails: what cannot be read is None. The state is decided
elsewhere, in `acetasks.providers.normalize`.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from acetasks._records import DECODE_ERRORS, ECHO_LIMIT, RecordHead, ResponseHead, read_response
from acetasks.models import Artifact, TaskError, build_decode_error

if TYPE_CHECKING:
    from collections.abc import Collection

    from acetasks.providers.spec import ArtifactField, ProviderSpec

#: Error codes that say that the service knows no such task (digital-human, captcha).
_MISSING_CODES = frozenset({"not_found", "no_task"})

#: A task or job spoken of, not one in a path such as `/luma/tasks`.
_TASK = re.compile(r"(?<![/\w])(?:task|job)s?\b", re.IGNORECASE)

#: How much of a service's reason a task keeps, in characters: its words are the user's to read, within reason.
_ECHO = 4 * ECHO_LIMIT

#: More is no size of anything, and no number that a task could carry into MessagePack.
_MOST_PIXELS = 2**31 - 1

#: What an image sent as base64 text is taken for; the service's image models answer so.
_BASE64_TYPE = "image/png"

#: Paths of one key that is not the name of a value: none, all entries, and the items, some of which may not count.
_ODD_KEYS = frozenset({"", "*", "data"})
#: Values found in a response, each with the object it stands in.
_Spots = list[tuple[object, dict[str, object] | None]]


def read_text(value: object) -> str | None:
    """Read a text; a number is taken as its digits, and an empty text as none."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_progress(value: object, *, most: float | None = 100.0) -> float | None:
    """Read a number of at least 0, such as a progress in percent.

    Args:
        value: A number, a text such as `"100%"`, or maestro's `{percent: ...}`.
        most: The largest number that makes sense, or None.

    Returns:
        The number, or None where there is no sensible one.
    """
    if value is None:  # as in most records
        return None
    if isinstance(value, float):
        number = value
    else:
        if isinstance(value, dict):
            value = value.get("percent")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
        except (ValueError, OverflowError):
            return None
    return number if 0 <= number < math.inf and (most is None or number <= most) else None


def read_epoch(value: object, utc_offset: float = 0.0) -> float | None:
    """Read a point in time.

    Args:
        value: Seconds since the epoch, or an ISO 8601 text (records had those before August 2026).
        utc_offset: Hours east of UTC that a text without a zone is meant in.

    Returns:
        Seconds since the epoch, or None.
    """
    if value is None or (isinstance(value, float) and 0.0 < value < math.inf):  # as in most records
        return value
    if not isinstance(value, str):
        return read_progress(value, most=None) or None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=utc_offset)))
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def find_error_object(*errors: object) -> dict[str, object] | None:
    """Find the first error object that says anything; `{}` and objects of nulls are sent for "no error"."""
    for error in errors:
        if error and isinstance(error, dict) and any(value is not None for value in error.values()):
            return error
    return None


def find_error(response: ResponseHead, head: RecordHead) -> TaskError:
    """Find why a task failed, in the first place that says so."""
    # 1. An error object, in the response or at the top.   2. A bare text as error (useapi adds `errorDetails`).
    if (error := find_error_object(response.error, head.error)) is not None:
        return TaskError(
            code=_cut(read_error_code(error)), message=_cut(read_error_message(error)) or "no reason given"
        )
    if text := read_text(response.error) or read_text(head.error):
        details = read_text(head.error_details)
        message = f"{text} ({details})" if details and details != text else text
        return TaskError(code=_failed_code(head.code), message=message[:_ECHO])
    # 3. fish's `{status: 400, message}`, captcha's `{code, detail}`.   4. Nothing but a state word, or not even that.
    if said := read_text(response.message) or read_text(head.detail):
        status = None if isinstance(response.status, str) else _failed_code(response.status)
        return TaskError(code=status or _failed_code(head.code), message=said[:_ECHO])
    word = next(filter(None, map(read_text, (head.status, head.state, response.status, response.state))), None)
    return TaskError(message=f"the service gave no reason{f' (state {word[:_ECHO]!r})' if word else ''}"[:_ECHO])


def read_error_code(error: dict[str, object]) -> str | None:
    """Find the code of an error object in one of its spellings."""
    return next(filter(None, (read_text(error.get(key)) for key in ("code", "type", "http_code"))), None)


def read_error_message(error: dict[str, object]) -> str | None:
    """Find the message of an error object: under a usual name, or else the first text there is."""
    keys = ("message", "detail", *error)
    return next(filter(None, (read_text(error.get(key)) for key in keys)), None)


def is_missing(head: RecordHead) -> bool:
    """Tell whether the body of a 404 answer means the task, not the path."""
    texts = [read_text(head.detail)]
    if (error := find_error_object(head.error)) is not None:
        if code := read_text(error.get("code")):
            return code.lower() in _MISSING_CODES
        texts.append(read_text(error.get("message")))
    else:
        texts.append(read_text(head.error))
    return any(_TASK.search(text) for text in texts if text)


class Document:
    """A response, wholly decoded: what the task made, and the times that stand deep within it."""

    __slots__ = ("_root", "_spec", "_unfinished", "artifacts")

    def __init__(
        self, spec: ProviderSpec, raw: bytes, unfinished_items: Collection[int] = (), *, is_flat: bool = False
    ) -> None:
        """Decode the response of a record.

        Args:
            spec: The provider's row.
            raw: The record's JSON.
            unfinished_items: Positions in `data` whose artifacts do not count.
            is_flat: Whether the record is its own response.

        Raises:
            ProtocolError: The response is malformed.
        """
        self._spec = spec
        self._unfinished = unfinished_items
        try:
            # It was passed over before, not decoded; and from a frame less deep in the stack, where more nests.
            self._root = read_response(raw, is_flat=is_flat)
        except DECODE_ERRORS as error:
            raise build_decode_error("a response", raw, error) from error
        #: What the task made. headshots sends one URL for several images, midjourney for two roles: the first counts.
        self.artifacts = tuple(self._collect().values())

    @property
    def has_main(self) -> bool:
        """Whether something that was asked for has been made."""
        return any(artifact.role == "main" for artifact in self.artifacts)

    @property
    def finished_at(self) -> float | None:
        """The end of the work where it stands in a place of the provider's own: the latest of its items'."""
        times = [read_epoch(value, self._spec.utc_offset) for value, _ in self._find(self._spec.finished_path)]
        return max(filter(None, times), default=None)

    def _collect(self) -> dict[str, Artifact]:
        """Find the artifacts of finished items by their URLs, in the order of the row's fields."""
        found: dict[str, Artifact] = {}
        for field in self._spec.artifacts:
            for value, owner in self._find(field.path):
                if isinstance(value, str) and (url := self._usable_url(field, value)) and url not in found:
                    width = height = None
                    if owner is not None and field.side_keys is not None:
                        width_key, height_key = field.side_keys
                        width, height = _read_pixels(owner.get(width_key)), _read_pixels(owner.get(height_key))
                    role = "cover" if field.cover_of and self._has(field.cover_of) else field.role
                    found[url] = Artifact(url=url, kind=field.kind, role=role, width=width, height=height)
        return found

    def _has(self, path: str) -> bool:
        return any(isinstance(value, str) and value for value, _ in self._find(path))

    def _usable_url(self, field: ArtifactField, value: str) -> str | None:
        """Turn an artifact's value into a URL; empty texts and previews of unfinished work are none."""
        if not value.strip():
            return None
        if field.is_base64:
            return f"data:{_BASE64_TYPE};base64,{value}"
        if not self._spec.preview_hosts:
            return value
        try:
            host = urlsplit(value).hostname or ""
        except ValueError:
            return value
        return None if host.startswith(self._spec.preview_hosts) else value

    def _find(self, path: str) -> _Spots:
        """Find what stands at a path, each with the object it stands in; nothing where the path does not lead."""
        root = self._root
        if "." not in path and path not in _ODD_KEYS:  # mostly it stands in the response itself
            return [(root[path], root)] if isinstance(root, dict) and path in root else []
        found: _Spots = [(root, None)] if path else []
        in_data = False
        for key in _split(path):
            if key == "*":
                found = [spot for node, owner in found for spot in self._spread(node, owner, in_data=in_data)]
                in_data = False
            else:
                # The response's own `data` holds the items, some of which may not count.
                in_data = key == "data" and found[0][1] is None
                found = [
                    (node[key], node)
                    for node, _ in found
                    if isinstance(node, dict)
                    and key in node
                    and not (in_data and 0 in self._unfinished and isinstance(node[key], dict))
                ]
            if not found:
                break
        return found

    def _spread(self, node: object, owner: dict[str, object] | None, *, in_data: bool) -> _Spots:
        """Find the entries of a list, or the node itself where a provider sends one object in the list's place."""
        if not isinstance(node, list):
            return [(node, owner)]
        if in_data:  # what is no object is left out, so that positions are those of the record's items
            items = [entry for entry in node if isinstance(entry, dict)]
            return [(entry, owner) for index, entry in enumerate(items) if index not in self._unfinished]
        return [(entry, owner) for entry in node]


@functools.lru_cache(maxsize=1024)
def _split(path: str) -> tuple[str, ...]:
    """Split a path of a row into its keys."""
    return tuple(path.split("."))


def _read_pixels(value: object) -> int | None:
    """Read a width or height; 0 is sent for "unknown" (pixverse)."""
    if type(value) is not int:  # as JSON has them; `True` is none
        return None
    return value if 0 < value <= _MOST_PIXELS else None


def _failed_code(value: object) -> str | None:
    """Take an error's code, or an HTTP status instead; one below 400 is none: useapi sends 200 with failed jobs."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 400:  # noqa: PLR2004  # HTTP's errors
        return None
    return _cut(read_text(value))


def _cut(text: str | None) -> str | None:
    return text and text[:_ECHO]
