"""Servers that tests need, and that may not run on this machine: without one, tests are skipped, and a line says so.

ACETASKS_REQUIRE_SERVICES=1 makes each of these skips a failure.
"""

from __future__ import annotations

import os

import pytest

#: How the reason of a skipped test begins, before the name of the service.
NOT_TESTED = "NOT TESTED: no "


def require(service: str, reason: str | None, remedy: str) -> None:
    """Skip the test if a service cannot be used.

    Args:
        service: Its name.
        reason: Why it cannot be used, or None if it can.
        remedy: What to do, so that it can.
    """
    if reason is None:
        return
    message = f"{NOT_TESTED}{service} ({reason}): {remedy}"
    if os.environ.get("ACETASKS_REQUIRE_SERVICES") == "1":
        pytest.fail(message)
    pytest.skip(message)


def find_service(reason: str) -> str | None:
    """Return the service that a test was skipped for, from the reason of the skip; None if there was another one."""
    _, found, rest = reason.partition(NOT_TESTED)
    return rest.partition(" (")[0] if found else None
