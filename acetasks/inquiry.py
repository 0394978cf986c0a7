"""One look at some tasks of one provider, to the end: every id asked gets an answer of its own.

One request is not always enough: a service may leave records out of an answer, cut it short without saying so, or
reject a batch because of one id. An inquiry asks on until each id has a record, an error of its own, or the service's
word that it has none.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

import msgspec

from acetasks.answers import Look, read_look, read_news
from acetasks.errors import AceTasksError, APIError, BadRequestError, ProtocolError
from acetasks.models import TaskState
from acetasks.providers import ProviderSpec, Reading
from acetasks.wire import Question, Request, Response, build_look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from acetasks.framing import Framing
    from acetasks.transport import Transport

_TOO_LARGE = 413


class Findings(msgspec.Struct):
    """What one look found, by id.

    Attributes:
        readings: The tasks that the service has a new record of.
        unchanged: Those whose record is the one that is known already.
        errors: What went wrong, for the ids that it concerns.
        missing: Ids that the service leaves out when it is asked for nothing else that it has.
        cuts: How many records each answer had that was cut short, though the rest was there too.
        fits: How many ids were not too many, where the service refused more for the size of the request; else None.
        today: The service's time, in seconds since the epoch, where its last answer said so.
    """

    readings: dict[str, Reading] = {}
    unchanged: tuple[str, ...] = ()
    errors: dict[str, AceTasksError] = {}
    missing: list[str] = []
    cuts: list[int] = []
    fits: int | None = None
    today: float | None = None


async def inquire(
    transport: Transport,
    spec: ProviderSpec,
    question: Question,
    *,
    framing: Framing | None = None,
    admit: Callable[[], Awaitable[None]] | None = None,
    attempts: int = 1,
) -> Findings:
    """Look at some tasks.

    Args:
        transport: What to send with.
        spec: The provider's row.
        question: What to ask first, each id once, and no more than the provider takes in one request.
        framing: What is known of how the provider frames its answers; None to read each in its parts.
        admit: Awaited before each attempt to send a request, until it is allowed.
        attempts: How often each request is sent at most, where that may help.

    Returns:
        What was found; every id is in exactly one of its readings, unchanged, errors and missing ones.
    """
    send = functools.partial(transport.send, admit=admit, attempts=attempts)
    inquiry = _Inquiry(send, spec, question, framing)
    await inquiry.ask(question.request.ids)
    return inquiry.findings


class _Inquiry:
    """A look under way.

    Attributes:
        findings: What it has found so far.
    """

    __slots__ = ("_framing", "_halt", "_question", "_send", "_spec", "findings")

    def __init__(
        self,
        send: Callable[[Request, Callable[[Response], Look]], Awaitable[Look]],
        spec: ProviderSpec,
        question: Question,
        framing: Framing | None,
    ) -> None:
        self._send = send
        self._spec = spec
        self._question = question
        self._framing = framing
        # In trouble a look ends, for all that are left: when to ask again is not for it to say.
        self._halt: AceTasksError | None = None
        self.findings = Findings()

    async def ask(self, ids: Sequence[str]) -> None:
        """Ask for ids, and again for those of them that an answer leaves out, until it leaves them all out."""
        findings = self.findings
        short = 0
        while ids:
            if self._halt is not None:
                await self._take_in_error(ids, self._halt)
                return
            try:
                answer = await self._look(ids)
            except AceTasksError as error:
                if error.transient:
                    self._halt = error
                await self._take_in_error(ids, error)
                return
            findings.today = answer.today
            found = len(answer.readings) + len(answer.unchanged)
            if not found:
                await self._take_in_nothing(ids, answer)
                return
            if short and (answer.unchanged or any(map(_is_there, answer.readings.values()))):
                # There was more than the last answer had: it was cut short.
                findings.cuts.append(short)
            findings.readings |= answer.readings
            findings.unchanged += answer.unchanged
            if found == len(ids):
                return
            answered = {*answer.readings, *answer.unchanged}
            ids = [task_id for task_id in ids if task_id not in answered]
            # One that is left out is more likely new than cut off.
            short = found if len(ids) > 1 and not answer.unread else 0

    def _look(self, ids: Sequence[str]) -> Awaitable[Look]:
        """Ask the question as it is, or for some that are left of it."""
        question = self._question
        if ids is not question.request.ids:
            records = dict(zip(question.request.ids, question.known, strict=True)) if question.known else {}
            question = Question(build_look(self._spec, ids), [records.get(task_id) for task_id in ids])
        read = functools.partial(_read, self._spec, question, self._framing)
        return self._send(question.request, read)

    async def _take_in_nothing(self, ids: Sequence[str], answer: Look) -> None:
        """Take in an answer without a record that can be read of what was asked."""
        # 1. It has none at all.   2. Whose the unreadable ones are shows when each id is asked alone.
        if not answer.unread:
            self.findings.missing.extend(ids)
            return
        for task_id in ids:
            await self.ask([task_id])

    async def _take_in_error(self, ids: Sequence[str], error: AceTasksError) -> None:
        """Keep an error for the ids it concerns: all that were asked, unless it may be the fault of one of them."""
        findings = self.findings
        is_rejected = isinstance(error, BadRequestError) and not error.is_redirect
        is_somebodys = is_rejected or (isinstance(error, ProtocolError) and not error.transient)
        if len(ids) == 1 or not is_somebodys:
            findings.errors.update(dict.fromkeys(ids, error))
            return
        # One bad id or record must not sink the others: halve the batch until the culprit is alone.
        middle = (len(ids) + 1) // 2
        await self.ask(ids[:middle])
        await self.ask(ids[middle:])
        is_too_large = isinstance(error, APIError) and error.status == _TOO_LARGE
        if is_too_large and findings.errors.keys().isdisjoint(ids):
            findings.fits = min(middle, findings.fits or middle)


def _read(spec: ProviderSpec, question: Question, framing: Framing | None, response: Response) -> Look:
    """Read an answer, and no more of it than what is new if that can be found; see `read_look`."""
    request, known, is_known = question
    if framing is None or not is_known or len(request.ids) == 1:
        return read_look(spec, request, response, known)
    records = cast("Sequence[bytes]", known)
    news = framing.find_news(spec.slug, response.body, records)
    look = None if news is None else read_news(spec, request, response, news)
    if look is None:
        look = read_look(spec, request, response, known)
        if len(look.unchanged) == len(request.ids):
            framing.learn(spec.slug, response.body, records)
    return look


def _is_there(reading: Reading) -> bool:
    return reading.state is not TaskState.NOT_FOUND
