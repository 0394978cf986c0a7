"""One look at some tasks of one provider, to the end: every id asked gets an answer of its own.

One request is not always enough: a service may leave records out of an answer, cut it short without saying so, or
reject a batch because of one id. An inquiry asks on until each id has a record, an error of its own, or the service's
word that it has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.answers import read_look
from acetasks.errors import AceTasksError, BadRequestError, ProtocolError
from acetasks.providers import ProviderSpec, Reading, read_record
from acetasks.wire import build_look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.transport import Transport


class Findings(msgspec.Struct):
    """What one look found, by id.

    Attributes:
        readings: The tasks that the service has a record of.
        errors: What went wrong, for the ids that it concerns.
        missing: Ids that the service leaves out when it is asked for nothing else that it has.
    """

    readings: dict[str, Reading] = {}
    errors: dict[str, AceTasksError] = {}
    missing: list[str] = []


async def inquire(transport: Transport, spec: ProviderSpec, ids: Sequence[str]) -> Findings:
    """Look at some tasks.

    Args:
        transport: What to send with.
        spec: The provider's row.
        ids: Each once, and no more than the provider takes in one request.

    Returns:
        What was found; every id is in exactly one of its parts.
    """
    findings = Findings()
    await _ask(transport, spec, list(ids), findings)
    return findings


async def _ask(transport: Transport, spec: ProviderSpec, ids: list[str], findings: Findings) -> None:
    """Ask for ids, and again for those of them that an answer leaves out, until it leaves them all out."""
    while ids:
        try:
            found, unread = await _send(transport, spec, ids, findings)
        except AceTasksError as error:
            is_somebodys = isinstance(error, BadRequestError) or (
                isinstance(error, ProtocolError) and not error.transient
            )
            if len(ids) == 1 or not is_somebodys:
                findings.errors.update(dict.fromkeys(ids, error))
                return
            # One bad id or record must not sink the others: halve the batch until the culprit is alone.
            middle = len(ids) // 2
            await _ask(transport, spec, ids[:middle], findings)
            ids = ids[middle:]
            continue
        ids = [task_id for task_id in ids if task_id not in findings.readings]
        if found:
            continue
        # Nothing that can be read is left. Whose the unreadable records are shows when each id is asked alone.
        if not unread:
            findings.missing.extend(ids)
            return
        for task_id in ids:
            await _ask(transport, spec, [task_id], findings)
        return


async def _send(transport: Transport, spec: ProviderSpec, ids: list[str], findings: Findings) -> tuple[int, int]:
    """Ask once, and keep what can be read.

    Returns:
        How many of the ids the answer has a record of, and how many records it has that cannot be read.
    """
    request = build_look(spec, ids)
    response = await transport.send(request)
    records = read_look(spec, request, response)
    if len(ids) == 1:
        reading = read_record(spec, records[0], task_id=ids[0], http_status=response.status)
        findings.readings[ids[0]] = reading
        return 1, 0
    asked = set(ids)
    found = unread = 0
    for record in records:
        try:
            reading = read_record(spec, record)
        except ProtocolError:
            unread += 1
            continue
        if reading.task.id in asked:
            asked.discard(reading.task.id)
            findings.readings[reading.task.id] = reading
            found += 1
    return found, unread
