"""The RabbitMQ server that happens to run, for tests.

ACETASKS_TEST_RABBITMQ is the URL of another server than the default one.
"""

from __future__ import annotations

import functools
import os
import socket
import urllib.parse

from service_support import require

#: The server, on which the user may declare queues.
URL = os.environ.get("ACETASKS_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/")
#: Seconds to wait for the server.
PATIENCE = 5.0


@functools.cache
def explain_missing_server() -> str | None:
    """Return why the server cannot be used, or None if it can."""
    parts = urllib.parse.urlsplit(URL)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), PATIENCE).close()
    except OSError as error:
        return str(error)
    return None


def require_rabbitmq() -> None:
    """Skip the test if there is no server."""
    require("RabbitMQ", explain_missing_server(), "set ACETASKS_TEST_RABBITMQ to the URL of one")
