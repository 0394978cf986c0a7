"""Brings one competitor and the service together, each in a fresh process on a core of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import client
import msgspec
import service
from client import Figures, Measure
from meters import choose_cores
from plan import Load
from service import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

T = TypeVar("T")
HERE = Path(__file__).parent
#: Seconds after its limit in which a client has to give its figures.
_PATIENCE = 30.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One competitor's run.

    Attributes:
        competitor: The name of its module.
        measure: What is measured.
        load: What is awaited.
        interval: Seconds between two looks at a task.
        limit: Seconds after which it is stopped.
        since: Seconds after which growth is measured.
    """

    competitor: str
    measure: Measure
    load: Load
    interval: float
    limit: float
    since: float = 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a trial.

    Attributes:
        trial: What was tried.
        fault: Why there are no figures; empty if there are.
        figures: What the client has measured.
        counts: What the service has counted; of growth, what it has counted since.
    """

    trial: Trial
    fault: str = ""
    figures: Figures | None = None
    counts: Counts


def hold(trial: Trial) -> Result:
    """Hold one trial."""
    client_core, service_core = choose_cores()
    with _started("service.py", service.Job(load=trial.load, core=service_core)) as served:
        job = client.Job(
            competitor=trial.competitor,
            measure=trial.measure,
            load=trial.load,
            url=_hear(served, str),
            interval=trial.interval,
            limit=trial.limit,
            since=trial.since,
            core=client_core,
        )
        with _started("client.py", job) as awaiting:
            if (said := _pipe(awaiting.stdout).readline().decode().strip()) != "ready":
                return Result(trial=trial, fault=said or "it cannot be set up", counts=Counts())
            start = _ask(served, "begin", float)
            _say(awaiting, repr(start))
            before = Counts()
            if trial.measure is Measure.GROWTH:
                time.sleep(max(0.0, start + trial.since - time.monotonic()))
                before = _ask(served, "report", Counts)
            try:
                output, _ = awaiting.communicate(timeout=max(0.0, start + trial.limit + _PATIENCE - time.monotonic()))
            except subprocess.TimeoutExpired:
                return Result(trial=trial, fault="it cannot be stopped", counts=_ask(served, "report", Counts))
            after = _ask(served, "report", Counts)
    if awaiting.returncode or not output:
        return Result(trial=trial, fault=f"it has failed ({awaiting.returncode})", counts=after)
    return Result(trial=trial, figures=msgspec.json.decode(output, type=Figures), counts=_subtract(after, before))


@contextlib.contextmanager
def _started(script: str, job: msgspec.Struct) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script while the context lasts."""
    command = [sys.executable, str(HERE / script), msgspec.json.encode(job).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(process: subprocess.Popen[bytes], command: str, answer: type[T]) -> T:
    _say(process, command)
    return _hear(process, answer)


def _say(process: subprocess.Popen[bytes], line: str) -> None:
    pipe = _pipe(process.stdin)
    pipe.write(line.encode() + b"\n")
    pipe.flush()


def _hear(process: subprocess.Popen[bytes], answer: type[T]) -> T:
    return msgspec.json.decode(_pipe(process.stdout).readline(), type=answer)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process was started without a pipe")
    return pipe


def _subtract(after: Counts, before: Counts) -> Counts:
    return Counts(
        requests=after.requests - before.requests,
        refused=after.refused - before.refused,
        ids=after.ids - before.ids,
        connections=after.connections,
        cpu=after.cpu - before.cpu,
        seconds=after.seconds - before.seconds,
        longest=after.longest,
    )
