"""Unexpected exceptions of polls, as faults of the polled tasks."""

from __future__ import annotations

import logging

from acetasks.errors import AceTasksError

_logger = logging.getLogger("acetasks")


class UnexpectedErrors:
    """Converts unexpected exceptions to transient errors, and logs each type once until the provider's polls work."""

    def __init__(self) -> None:
        self._logged: dict[str, set[type[BaseException]]] = {}

    def __repr__(self) -> str:
        return f"<UnexpectedErrors {self._logged!r}>"

    def convert(self, provider: str, error: BaseException) -> AceTasksError:
        """Return the transient error for an exception, which is its cause, and log it with its traceback."""
        converted = AceTasksError(f"{provider}: a poll failed unexpectedly, please report it: {error!r}")
        converted.transient = True
        logged = self._logged.setdefault(provider, set())
        if type(error) not in logged:
            logged.add(type(error))
            _logger.error("%s; its tasks are polled again", converted, exc_info=error)
        # A traceback would keep the poll's response alive for as long as the error.
        converted.__cause__ = error.with_traceback(None)
        return converted

    def record_success(self, provider: str) -> None:
        """Log the next unexpected exception of a provider again, whatever its type."""
        self._logged.pop(provider, None)
