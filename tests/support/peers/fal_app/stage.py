"""What the app knows across connections: faults to play, sessions open, everything that was received."""

import asyncio
import json
import secrets
import time

from aiohttp import web

from faults import Faults


#: Where a request finds it.
STAGE = web.AppKey("stage", object)


class Stage:
    def __init__(self, key):
        self.key = key
        self.attempts, self.rest, self.token_faults = [], Faults(), Faults()
        self.tokens = {}
        self.sessions, self.http_sessions = [], {}
        self.runner = secrets.token_hex(4)
        self.seen = {"tokens": 0, "attempts": 0, "admitted": [], "sockets": 0, "offers": [], "candidates": 0, "told_candidates": [],
                     "null_candidates": 0, "parameters": {}, "messages": [], "frames_in": 0, "frames_out": 0, "sizes": [],
                     "heartbeats": 0, "ended": [], "bitrates": [], "remb": [], "nacks": 0, "plis": 0, "first_messages": []}

    def next_faults(self):
        self.seen["attempts"] += 1
        return self.attempts.pop(0) if self.attempts else self.rest

    def mint(self, lifetime):
        token = "eyJ" + secrets.token_urlsafe(24)
        self.tokens[token] = time.monotonic() + lifetime
        return token

    def token_is_good(self, token):
        return self.tokens.get(token, 0) > time.monotonic()

    async def set_faults(self, request):
        wanted = await request.json()
        self.attempts = [Faults(faults) for faults in wanted.get("attempts", [])]
        self.rest = Faults(wanted.get("rest", {}))
        self.token_faults = Faults(wanted.get("token", {}))
        return web.json_response({})

    async def report(self, _request):
        open_sessions = [session.describe() for session in self.sessions]
        tasks = len(asyncio.all_tasks())
        return web.json_response(self.seen | {"open": len(open_sessions), "sessions": open_sessions, "tasks": tasks,
                                              "runner": self.runner})

    async def act(self, request):
        """`{"do": "drop_socket" | "drop_media" | "replace" | "say" | "notice", ...}`, on every open session, now."""
        wanted = Faults(await request.json())
        for session in list(self.sessions):
            match wanted["do"]:
                case "drop_socket":
                    await session.close_socket(wanted["code"] or 1006)
                case "drop_media":
                    await session.media.die(wanted["how"] or "close")
                case "replace":
                    await session.replace()
                case "say":
                    await session.say(wanted["message"])
                case "notice":
                    session.media.notice(json.dumps(wanted["message"]))
                case unknown:
                    return web.json_response({"error": f"{unknown}?"}, status=422)
        return web.json_response({"sessions": len(self.sessions)})
