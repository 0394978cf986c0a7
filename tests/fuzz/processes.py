"""A campaign shared out over processes, and what is left of one that an input has crashed or hung."""

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
    resource = None  # type: ignore[assignment]  # asked before it is used

#: Inputs that a process takes at a time.
_CHUNK = 20_000
#: Seconds after which a process is taken to hang in its inputs.
_HANG_S = 120.0
#: Bytes of memory that a process may have: an input that takes more ends in a MemoryError, not in a slow machine.
_MEMORY = 4 * 1024**3
#: Bytes of the longest input, and room to spare.
_BOX_SIZE = 64 * 1024**2


class BlackBox:
    """The input that a process examines, kept where it can be read when the process is gone."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(_BOX_SIZE)
            self._memory = mmap.mmap(file.fileno(), _BOX_SIZE)

    def keep(self, case: Case) -> None:
        """Put an input in the place of the last one."""
        packed = case.encode()
        size = len(packed).to_bytes(8, "little")
        self._memory[: 8 + len(packed)] = size + packed

    @staticmethod
    def read(path: Path) -> Case | None:
        """Read the last input; None if there was none."""
        kept = path.read_bytes()
        size = int.from_bytes(kept[:8], "little")
        return Case.decode(kept[8 : 8 + size]) if size else None


_box: list[BlackBox] = []


def _prepare(folder: str) -> None:
    """Prepare a process: its black box, its share of the memory, and no word of providers that are made up."""
    logging.getLogger("acetasks").setLevel(logging.ERROR)
    _box.append(BlackBox(Path(folder, f"{os.getpid()}.box")))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _work(inputs: int, seed: int) -> Tally | str:
    """Run a part of the campaign; an input that broke a promise comes back as its description."""
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
        inputs: How many inputs to examine.
        seed: What all of them follow from, whatever the number of processes.
        jobs: How many processes.

    Returns:
        What came of them.

    Raises:
        SystemExit: An input broke a promise, or ended a process.
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
                    raise SystemExit(f"seed {seed}, an input broke a promise: {found}")
                tally.add(found)
        except BrokenProcessPool:
            last = [case for path in Path(folder).glob("*.box") if (case := BlackBox.read(path)) is not None]
            told = "\n".join(f"  {case.function}: python -m fuzz --replay '{case.pack()}'" for case in last)
            raise SystemExit(f"seed {seed}, a process crashed or hung; one of these did it:\n{told}") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return tally
