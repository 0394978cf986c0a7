"""HTTP: requests out, responses in. What a response means for a task is decided in `_polling`."""

from acetasks._http.auth import Endpoint, TokenProvider
from acetasks._http.batch_poll import PollResult, poll_batch
from acetasks._http.history import HistoryPage, HistoryWalk
from acetasks._http.proxies import find_proxy
from acetasks._http.recording import read_entry
from acetasks._http.requests import Request, Response, build_submission, build_trace_lookup
from acetasks._http.responses import read_traced
from acetasks._http.services import build_endpoints, find_proxies, wrap_token
from acetasks._http.session import HTTPTransport
from acetasks._http.submissions import Submitter, describe_submitted
from acetasks._http.transport import Transport

__all__ = [
    "Endpoint",
    "HTTPTransport",
    "HistoryPage",
    "HistoryWalk",
    "PollResult",
    "Request",
    "Response",
    "Submitter",
    "TokenProvider",
    "Transport",
    "build_endpoints",
    "build_submission",
    "build_trace_lookup",
    "describe_submitted",
    "find_proxies",
    "find_proxy",
    "poll_batch",
    "read_entry",
    "read_traced",
    "wrap_token",
]
