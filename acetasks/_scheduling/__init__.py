"""Scheduling: which tasks are polled next, together, and when. Pure: no clock, no I/O, no randomness of its own."""

from acetasks._scheduling.durations import Durations
from acetasks._scheduling.planner import IntervalPlanner, build_planner
from acetasks._scheduling.scheduler import Changes, Scheduler
from acetasks._scheduling.tasks import CallbackState, InFlightPoll, Key, PollBatch, TrackedTask

__all__ = [
    "CallbackState",
    "Changes",
    "Durations",
    "InFlightPoll",
    "IntervalPlanner",
    "Key",
    "PollBatch",
    "Scheduler",
    "TrackedTask",
    "build_planner",
]
