"""HTTP: requests out, responses in. What a response means for a task is decided in `_polling`."""

from acetasks._http.aiohttp_backend import check_session
from acetasks._http.auth import Endpoint, Secret, TokenProvider
from acetasks._http.batch_poll import PollResult, poll_batch
from acetasks._http.history import HistoryPage, HistoryWalk
from acetasks._http.proxies import Proxy, find_proxy
from acetasks._http.requests import Request, Response, build_submission, build_trace_lookup
from acetasks._http.responses import read_traced
from acetasks._http.session import HTTPTransport
from acetasks._http.submissions import Submitter, describe_submitted
from acetasks._http.transport import Transport

__all__ = [
    "Endpoint",
    "HTTPTransport",
    "HistoryPage",
    "HistoryWalk",
    "PollResult",
    "Proxy",
    "Request",
    "Response",
    "Secret",
    "Submitter",
    "TokenProvider",
    "Transport",
    "build_submission",
    "build_trace_lookup",
    "check_session",
    "describe_submitted",
    "find_proxy",
    "poll_batch",
    "read_traced",
]
