"""The pool: what it shows of itself; what it does is tested with the session over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from acetasks import RetryPolicy
from acetasks.endpoints import Secret
from acetasks.pool import Pool
from acetasks.providers import lookup
from acetasks.wire import build_look

if TYPE_CHECKING:
    from acetasks.testing.server import AceServer


async def test_it_shows_whose_it_is_and_whether_it_is_open(server: AceServer) -> None:
    """It opens with the first request, and again after it was closed; the user's own stays open."""
    pool = Pool(None, RetryPolicy())
    look, token = build_look(lookup("luma"), ["t"]), Secret(server.token)
    shown = [repr(pool)]
    for _ in range(2):
        await pool.exchange(server.url, look, token)
        shown.append(repr(pool))
        await pool.close()
        shown.append(repr(pool))

    assert shown == ["<Pool of its own, closed>", *["<Pool of its own, open>", "<Pool of its own, closed>"] * 2]

    async with aiohttp.ClientSession() as http:
        pool = Pool(http, RetryPolicy())
        await pool.close()
        assert repr(pool) == "<Pool of the user, open>"
        assert not http.closed
    assert repr(pool) == "<Pool of the user, closed>"
