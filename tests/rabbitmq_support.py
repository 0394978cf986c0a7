"""RabbitMQ for tests: the server that happens to run."""

from __future__ import annotations

import os

#: The server, on which the user may declare queues.
URL = os.environ.get("ACETASKS_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/")
