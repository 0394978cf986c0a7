"""Make pictures in an aiohttp web application: the service calls it when one is ready.

It is started with its public URL, `python examples/callbacks_in_a_web_app.py http://127.0.0.1:8080`, and with a number
it makes as many pictures of its own, and ends. In FastAPI: `app.mount("/acetasks", callbacks.asgi_app())`.
"""

import asyncio
import sys
import urllib.parse
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

import acetasks

CLIENT = web.AppKey("client", acetasks.Client)


async def make_picture(request: web.Request) -> web.Response:
    prompt = request.query["prompt"]
    task = await request.app[CLIENT].run("flux", {"action": "generate", "prompt": prompt}, timeout=600)
    return web.json_response({"url": task.artifacts[0].url})


def build_app(public_url: str) -> tuple[web.Application, acetasks.Callbacks]:
    callbacks = acetasks.Callbacks(public_url + "/acetasks")  # with secret=..., it accepts them after a restart too

    async def open_client(app: web.Application) -> AsyncIterator[None]:
        async with acetasks.Client(callbacks=callbacks) as app[CLIENT]:
            yield

    app = web.Application()
    app.router.add_post("/pictures", make_picture)
    app.add_subapp("/acetasks", callbacks.aiohttp_app())
    app.cleanup_ctx.append(open_client)
    return app, callbacks


async def try_it(public_url: str, count: int) -> None:
    app, callbacks = build_app(public_url)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", urllib.parse.urlsplit(public_url).port).start()
    async with aiohttp.ClientSession(public_url) as browser:

        async def visit(number: int) -> None:
            async with browser.post("/pictures", params={"prompt": f"picture {number}"}) as response:
                print((await response.json())["url"])

        await asyncio.gather(*map(visit, range(count)))
    print(callbacks)
    await runner.cleanup()


if len(sys.argv) > 2:
    asyncio.run(try_it(sys.argv[1], int(sys.argv[2])))
else:
    web.run_app(build_app(sys.argv[1])[0], port=urllib.parse.urlsplit(sys.argv[1]).port)
