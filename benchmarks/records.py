"""Prebuilt Luma records as bytes, in the documented format.

`check` compares them with the records of `acetasks.testing`, and tests that every competitor can read them.
"""

from __future__ import annotations

import hashlib

PROMPT = "Astronauts shuttle from space to volcano"

_HEAD = (
    '{{"_id":"{hex:.24}","id":"{id}","api_id":"94fc9028-5a9f-4875-aae4-38463bd30ac5",'
    '"application_id":"06484a45-9d04-498a-98a7-67086dee8166","created_at":{created:.3f},'
    '"credential_id":"e6a879e5-a7c0-4f7b-9d6f-f9a837421a50",'
    f'"request":{{{{"action":"generate","prompt":"{PROMPT}"}}}},'
    '"trace_id":"{trace}","user_id":"ad7afe47-cea9-4cda-980f-2ad8810e51cf"'
)
_DONE = (
    ',"finished_at":{finished:.3f},"response":{{"success":true,"task_id":"{id}","video_id":"{trace}",'
    f'"prompt":"{PROMPT}",'
    '"video_url":"https://platform.cdn.acedata.cloud/luma/{id}.mp4","video_height":752,"video_width":1360,'
    '"state":"completed","thumbnail_url":"https://platform.cdn.acedata.cloud/luma/{id}.jpg",'
    '"thumbnail_width":1360,"thumbnail_height":752}}}}'
)
#: The part after the head for queued, pending and processing tasks.
QUEUED = b"}"
PENDING = b',"response":{"state":"pending"}}'
PROCESSING = b',"response":{"state":"processing"}}'


def write_head(task_id: str, created: float) -> bytes:
    """Return the first part of a record, which is the same in every state.

    Args:
        task_id: The task id.
        created: Submission time, in seconds since the epoch.
    """
    digest = hashlib.blake2b(task_id.encode(), digest_size=16).hexdigest()
    return _HEAD.format(id=task_id, created=created, hex=digest, trace=_trace(digest)).encode()


def write_end(task_id: str, finished: float) -> bytes:
    """Return the last part of the record of a finished task.

    Args:
        task_id: The task id.
        finished: End time, in seconds since the epoch.
    """
    digest = hashlib.blake2b(task_id.encode(), digest_size=16).hexdigest()
    return _DONE.format(id=task_id, finished=finished, trace=_trace(digest)).encode()


def _trace(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
