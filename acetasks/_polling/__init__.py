"""Waiting and polling: the waiters, the registry of awaited tasks, and the background task that polls."""

from acetasks._polling.callbacks import ExpectedCallbacks
from acetasks._polling.many_tasks import WaitTargets
from acetasks._polling.poller import CLOSE_TIMEOUT, Poller
from acetasks._polling.retrieval import retrieve_tasks, retrieve_traced

__all__ = ["CLOSE_TIMEOUT", "ExpectedCallbacks", "Poller", "WaitTargets", "retrieve_tasks", "retrieve_traced"]
