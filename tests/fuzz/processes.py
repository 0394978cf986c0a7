"""Runs a campaign in several processes, and keeps the current input of each for crashes and hangs."""

from __future__ import annotations

import concurrent.futures
import faulthandler
import logging
import mmap
import multiprocessing
import os
import tempfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .campaign import FindingError, run
from .readers import Case, Tally

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]  # checked before use

#: Number of inputs in one unit of work.
_CHUNK = 20_000
#: Seconds after which a unit of work counts as hung.
_HANG_S = 120.0
#: Memory limit of a process in bytes: an input that needs more raises MemoryError.
_MEMORY = 4 * 1024**3
#: Size of the shared file in bytes, more than the longest input.
_BOX_SIZE = 64 * 1024**2


class BlackBox:
    """File with the current input of a process, readable after the process has ended."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(_BOX_SIZE)
            self._memory = mmap.mmap(file.fileno(), _BOX_SIZE)

    def keep(self, case: Case) -> None:
        """Replace the stored input."""
        packed = case.encode()
        size = len(packed).to_bytes(8, "little")
        self._memory[: 8 + len(packed)] = size + packed

    @staticmethod
    def read(path: Path) -> Case | None:
        """Return the last input, or None."""
        kept = path.read_bytes()
        size = int.from_bytes(kept[:8], "little")
        return Case.decode(kept[8 : 8 + size]) if size else None


_box: list[BlackBox] = []


def _prepare(folder: str) -> None:
    """Initialise a process: its black box, its memory limit, and no log lines about invented providers."""
    logging.getLogger("acetasks").setLevel(logging.ERROR)
    _box.append(BlackBox(Path(folder, f"{os.getpid()}.box")))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _work(inputs: int, seed: int) -> Tally | str:
    """Run a part of the campaign; return the counts, or the description of a failing input."""
    faulthandler.dump_traceback_later(_HANG_S, exit=True)
    try:
        return run(inputs, seed, _box[0].keep)
    except FindingError as finding:
        return str(finding)
    finally:
        faulthandler.cancel_dump_traceback_later()


def run_all(inputs: int, seed: int, jobs: int) -> Tally:
    """Run a campaign in several processes.

    Args:
        inputs: Number of inputs.
        seed: Seed of all inputs, independent of the number of processes.
        jobs: Number of processes.

    Returns:
        The counts.

    Raises:
        SystemExit: An input failed a check or ended a process.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(folder,)
        )
        try:
            parts = [
                pool.submit(_work, min(_CHUNK, inputs - start), seed * 2**20 + start)
                for start in range(0, inputs, _CHUNK)
            ]
            for part in concurrent.futures.as_completed(parts):
                found = part.result()
                if isinstance(found, str):
                    raise SystemExit(f"seed {seed}, an input failed a check: {found}")
                tally.add(found)
        except BrokenProcessPool:
            last = [case for path in Path(folder).glob("*.box") if (case := BlackBox.read(path)) is not None]
            commands = "\n".join(f"  {case.function}: python -m fuzz --replay '{case.pack()}'" for case in last)
            raise SystemExit(f"seed {seed}, a process crashed or hung; its input is one of:\n{commands}") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return tally
