"""The HTTP dialect: one POST makes a session, heartbeats keep it, the data channel `control` carries the rest."""

import asyncio
import time
import uuid

from aiohttp import web

import doors
import later
from media import Media
from stage import STAGE

#: Without a heartbeat for this long a session is over.
PATIENCE = 15


class HttpSession:
    def __init__(self, stage, faults):
        self.stage, self.faults, self.media, self.name = stage, faults, Media(stage, faults), str(uuid.uuid4())
        self.heard, self.alive = time.monotonic(), True

    def describe(self):
        return {"state": self.media.peer.connectionState, "frames": self.media.frames, "socket": False, "dialect": "wma"}

    async def reached(self, _step):
        """There are no steps to close at."""
        return False

    async def close_socket(self, _code):
        """There is none; the session is declared dead at the next heartbeat."""
        self.alive = False

    async def say(self, message):
        self.media.notice(message)

    async def replace(self):
        await self.media.die("vanish")
        self.alive = False

    async def live(self):
        """Ends with its media, or when the heartbeats stop."""
        waiting = asyncio.ensure_future(self.media.over.wait())
        while self.alive and time.monotonic() < self.heard + PATIENCE and not waiting.done():
            await asyncio.wait([waiting], timeout=0.2)
        waiting.cancel()
        self.tasks[1].cancel()
        self.alive = False
        await self.media.close()
        self.stage.sessions.remove(self)
        self.stage.http_sessions.pop(self.name, None)
        self.stage.seen["ended"].append("session")


async def ice(request):
    return web.json_response({"ice_servers": [], "status": "app_managed", "credential_age_seconds": 0})


async def session(request):
    stage = request.app[STAGE]
    faults = stage.next_faults()
    await asyncio.sleep((faults["upgrade_delay"] or 0) + (faults["ready_delay"] or 0))
    if faults["upgrade_status"]:
        return doors.refusal(faults["upgrade_status"])
    if not doors.has_key(request, stage):
        return doors.refusal(401)
    stage.seen["admitted"].append("key")
    wanted = await request.json()
    if faults["error_before_answer"]:
        return doors.refusal(500, {"error": faults["error_before_answer"]})
    if faults["garbage"]:
        return web.Response(text="<html>bad gateway</html>", content_type="text/html")
    made = HttpSession(stage, faults)
    stage.sessions.append(made)
    answer = await made.media.answer(wanted["sdp"])
    stage.http_sessions[made.name] = made
    made.tasks = [asyncio.ensure_future(made.live()), asyncio.ensure_future(later.play(made))]
    return web.json_response({"session_id": made.name, "sdp": answer, "type": "answer"})


async def heartbeat(request):
    stage = request.app[STAGE]
    stage.seen["heartbeats"] += 1
    made = stage.http_sessions.get((await request.json()).get("session_id"))
    if made:
        made.heard = time.monotonic()
    return web.json_response({"alive": bool(made and made.alive)})
