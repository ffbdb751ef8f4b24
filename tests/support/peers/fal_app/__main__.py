"""A fal app and the fal around it, for tests: aiortc inverts what it gets and sends it back. `python fal_app [KEY]`

One HTTP server on a free loopback port, whose address is the first line on standard output, stands for all of fal's
hosts: tokens, the WebSocket gateway with the four dialects that use one, and the HTTP dialect. What goes wrong is
chosen by a test (`faults.py`), what happened is told by `GET /control/report`.
"""

import asyncio
import sys

from aiohttp import web

import doors
import lucy
import scope
import wma
import yolo
from stage import STAGE, Stage


def application(key):
    app = web.Application()
    stage = app[STAGE] = Stage(key)
    app.router.add_post("/tokens/", doors.token)
    app.router.add_post("/tokens/realtime", doors.token)
    for path, talk in (("webrtc", yolo.text), ("realtime", yolo.packed), ("ws", scope.talk), ("lucy", lucy.talk)):
        app.router.add_get("/{owner}/{app}/" + path, doors.gateway(talk))
    app.router.add_post("/ice", wma.ice)
    app.router.add_post("/session", wma.session)
    app.router.add_post("/session/heartbeat", wma.heartbeat)
    app.router.add_get("/control/report", stage.report)
    app.router.add_post("/control/faults", stage.set_faults)
    app.router.add_post("/control/act", stage.act)
    return app


async def main():
    runner = web.AppRunner(application(sys.argv[1] if len(sys.argv) > 1 else None), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("127.0.0.1:%d" % site._server.sockets[0].getsockname()[1], flush=True)
    # The end of the input is the test's end, however it came about.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


asyncio.run(main())
