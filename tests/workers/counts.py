"""What a run has led to: orders without a result, orders that were paid for twice, and how late others went on."""

from __future__ import annotations

import collections
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from processes import Fault, Note

    from acetasks.testing.scenario import ScriptedTask

#: Columns of the table in docs/workers.md, after the engine, the kind of the faults and the number of workers.
ROW = (
    "orders",
    "faults",
    "jobs that were under way",
    "orders left uncertain",
    "of them adopted",
    "of them released",
    "orders without a result",
    "orders paid for twice",
    "of them begun by another worker after s, median",
    "the last after s",
)
#: Maximum seconds from the death of a worker until another has begun its jobs. One that takes a job may be killed
#: before it begins it; then they count from that kill, and twice as many from the first.
LATEST = 10.0


class Order(NamedTuple):
    """An order as the web application shows it in the end.

    Attributes:
        state: Its state.
        task: The id of the task in its result, or None.
    """

    state: str
    task: str | None


class Orphans(NamedTuple):
    """The jobs that workers had when they were killed or stopped.

    Attributes:
        faults: The number of workers that had any.
        late: For each job, the seconds until another worker began it.
        too_late: The number of those that were begun later than allowed.
        left: Those that no other worker began, and that had not ended.
    """

    faults: int
    late: list[float]
    too_late: int
    left: list[str]


def find_wrong(orders: Mapping[str, Order], tasks: Mapping[str, ScriptedTask]) -> list[str]:
    """Return the orders whose result is not that of their own task."""
    wrong = []
    for order_id, order in orders.items():
        task = tasks.get(order.task or "")
        prompt = None if task is None or task.request is None else task.request["prompt"]
        if order.state != "open" and (task is None or prompt != order_id or task.outcome.value != order.state):
            wrong.append(order_id)
    return wrong


def find_orphans(
    notes: Sequence[Note], faults: Sequence[Fault], ended: Mapping[str, float], *, latest: float = LATEST
) -> Orphans:
    """Return what became of the jobs of killed workers.

    Args:
        notes: All notes.
        faults: The kills.
        ended: When each order had ended, by the earliest note of it.
        latest: Maximum seconds until another worker begins a job.
    """
    begins: dict[str, list[Note]] = collections.defaultdict(list)
    ends = {(note.worker, note.order): note.time for note in notes if note.what == "end"}
    by_worker: dict[str, set[str]] = collections.defaultdict(set)
    for note in notes:
        if note.what == "begin":
            begins[note.order].append(note)
            by_worker[note.worker].add(note.order)
    late: list[float] = []
    left: list[str] = []
    hit = too_late = 0
    for fault in faults:
        had = [
            order
            for order in by_worker[fault.worker]
            if ends.get((fault.worker, order), float("inf")) > fault.time
            and ended.get(order, float("inf")) > fault.time
            and any(note.worker == fault.worker and note.time <= fault.time for note in begins[order])
        ]
        hit += bool(had)
        for order in had:
            later = [note.time for note in begins[order] if note.worker != fault.worker and note.time > fault.time]
            if later:
                begun = min(later)
                last = max(other.time for other in faults if other.time < begun)
                late.append(begun - fault.time)
                too_late += begun - last > latest or late[-1] > 2 * latest
            elif order not in ended:
                left.append(order)
    return Orphans(hit, late, too_late, left)


class Counts(NamedTuple):
    """The figures of a run, and what must be zero."""

    figures: dict[str, float]
    wrong: dict[str, int]

    @property
    def row(self) -> list[float]:
        """The figures in the order of the table in docs/workers.md."""
        both = self.figures | self.wrong
        return [both[title] for title in ROW]


def count(
    orders: Mapping[str, Order],
    tasks: Mapping[str, ScriptedTask],
    notes: Sequence[Note],
    kills: Sequence[Fault],
    *,
    faults: int,
    seconds: float,
    died: int,
    latest: float,
) -> Counts:
    """Return what is printed of a run."""
    made = collections.Counter(task.request["prompt"] for task in tasks.values() if task.request is not None)
    seen: dict[str, set[str]] = collections.defaultdict(set)
    ended: dict[str, float] = {}
    for note in notes:
        seen[note.what].add(note.order)
        if note.what == "end":
            ended.setdefault(note.order, note.time)
    orphans = find_orphans(notes, kills, ended, latest=latest)
    late = orphans.late or [0.0]
    figures: dict[str, float] = {
        "orders": len(orders),
        "tasks at the service": len(tasks),
        "faults": faults,
        "of them with jobs under way": orphans.faults,
        "jobs that were under way": len(orphans.late) + len(orphans.left),
        "of them begun by another worker after s, median": round(statistics.median(late), 1),
        "the last after s": round(max(late), 1),
        "orders left uncertain": len(seen["uncertain"] | seen["adopted"] | seen["absent"]),
        "of them adopted": len(seen["adopted"]),
        "of them released": len(seen["absent"]),
        "workers that ended by themselves": died,
        "seconds": round(seconds),
    }
    wrong = {
        "orders without a result": sum(order.state == "open" for order in orders.values()),
        "orders paid for twice": sum(number > 1 for number in made.values()),
        "results that are wrong": len(find_wrong(orders, tasks)),
        "jobs that were begun too late": orphans.too_late + len(orphans.left),
    }
    return Counts(figures, wrong)
