"""Runs one trial: a competitor and the simulated service, each in a new process on its own core."""

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
#: Seconds after its time limit within which a client has to print its figures.
_EXIT_TIMEOUT = 30.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of one run of one competitor.

    Attributes:
        competitor: Name of the competitor's module.
        measure: The measurement.
        load: The awaited tasks.
        interval: Seconds between two polls of a task.
        limit: Seconds after which the run is stopped.
        since: Seconds after which growth is measured.
    """

    competitor: str
    measure: Measure
    load: Load
    interval: float
    limit: float
    since: float = 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a trial.

    Attributes:
        trial: The parameters.
        fault: Reason for missing figures, or empty.
        figures: Measurements of the client.
        counts: Counts of the service; for growth, only those after `since`.
    """

    trial: Trial
    fault: str = ""
    figures: Figures | None = None
    counts: Counts


def run_trial(trial: Trial) -> Result:
    """Run one trial and return its result."""
    client_core, service_core = choose_cores()
    with _run_script("service.py", service.Job(load=trial.load, core=service_core)) as service_process:
        job = client.Job(
            competitor=trial.competitor,
            measure=trial.measure,
            load=trial.load,
            url=_receive(service_process, str),
            interval=trial.interval,
            limit=trial.limit,
            since=trial.since,
            core=client_core,
        )
        with _run_script("client.py", job) as client_process:
            if (status := _pipe(client_process.stdout).readline().decode().strip()) != "ready":
                return Result(trial=trial, fault=status or "setup failed", counts=Counts())
            start = _request(service_process, "begin", float)
            _send(client_process, repr(start))
            before = Counts()
            if trial.measure is Measure.GROWTH:
                time.sleep(max(0.0, start + trial.since - time.monotonic()))
                before = _request(service_process, "report", Counts)
            try:
                output, _ = client_process.communicate(
                    timeout=max(0.0, start + trial.limit + _EXIT_TIMEOUT - time.monotonic())
                )
            except subprocess.TimeoutExpired:
                return Result(trial=trial, fault="it did not stop", counts=_request(service_process, "report", Counts))
            after = _request(service_process, "report", Counts)
    if client_process.returncode or not output:
        return Result(trial=trial, fault=f"exit code {client_process.returncode}", counts=after)
    return Result(trial=trial, figures=msgspec.json.decode(output, type=Figures), counts=_subtract(after, before))


@contextlib.contextmanager
def _run_script(script: str, job: msgspec.Struct) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script as a child process while the context is open."""
    command = [sys.executable, str(HERE / script), msgspec.json.encode(job).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _request(process: subprocess.Popen[bytes], command: str, answer: type[T]) -> T:
    _send(process, command)
    return _receive(process, answer)


def _send(process: subprocess.Popen[bytes], line: str) -> None:
    pipe = _pipe(process.stdin)
    pipe.write(line.encode() + b"\n")
    pipe.flush()


def _receive(process: subprocess.Popen[bytes], answer: type[T]) -> T:
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
