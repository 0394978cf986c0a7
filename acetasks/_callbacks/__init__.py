"""Callbacks: the URLs that submissions get, and the apps that receive what the service posts to them.

This room knows neither tasks nor polls: it passes what is genuine to the clients that are attached.
"""

from acetasks._callbacks.asgi import ASGIApp
from acetasks._callbacks.callbacks import Callbacks
from acetasks._callbacks.receiver import ReceivedCallback

__all__ = ["ASGIApp", "Callbacks", "ReceivedCallback"]
