"""One WebSocket session, whatever its dialect: the order of things, and what goes wrong at each step."""

import asyncio
import json

import msgpack
from aiohttp import WSMsgType, web

import later
from media import Media
from stage import STAGE

CHATTER = [{"type": "x-fal-message", "action": "timings", "timing": {}}, {"type": "logs", "lines": ["warming up"]},
           {"type": "from-the-future", "value": [1, {"deep": None}]}]


class Session:
    """`packed` dialects speak msgpack in binary frames, the others JSON in text frames."""

    def __init__(self, request, faults, packed):
        self.stage, self.faults, self.packed, self.request = request.app[STAGE], faults, packed, request
        # aiohttp answers protocol pings by itself.
        self.socket = web.WebSocketResponse(max_msg_size=4 * 1024 * 1024)
        self.media = Media(self.stage, faults)
        self.tasks, self.keep_media = [], False

    def describe(self):
        return {"state": self.media.peer.connectionState, "frames": self.media.frames, "socket": not self.socket.closed,
                "dialect": "msgpack" if self.packed else "json"}

    async def run(self, greet, take):
        """`greet()` opens the conversation, `take(message)` continues it; returns when the session is over."""
        await self.socket.prepare(self.request)
        self.stage.seen["sockets"] += 1
        self.stage.sessions.append(self)
        self.tasks = [asyncio.ensure_future(later.play(self)), asyncio.ensure_future(self.end_with_media())]
        try:
            if not await self.reached("open"):
                await greet()
                await self.listen(take)
        except (ConnectionError, RuntimeError) as error:
            self.stage.seen["ended"].append(type(error).__name__)
        finally:
            for task in self.tasks:
                task.cancel()
            if self.keep_media:
                # The proxy lost the socket; the runner has not noticed, and ends with the media.
                await self.media.over.wait()
            await self.media.close()
            self.stage.sessions.remove(self)
            self.stage.seen["ended"].append(self.socket.close_code)
        return self.socket

    async def listen(self, take):
        async for frame in self.socket:
            if len(self.stage.seen["first_messages"]) < 200:
                self.stage.seen["first_messages"].append("binary" if frame.type == WSMsgType.BINARY else "text")
            if frame.type == (WSMsgType.TEXT if self.packed else WSMsgType.BINARY):
                return await self.misunderstand()
            try:
                message = msgpack.unpackb(frame.data) if self.packed else json.loads(frame.data)
                await take(message)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return await self.fail(f"{type(error).__name__}: {error}")

    async def misunderstand(self):
        """A frame of the wrong kind: a raw endpoint dies of it, the framework's own complains."""
        if self.packed:
            await self.socket.send_json({"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": "'bytes'"})
            await self.close_socket(1000)
        else:
            await self.close_socket(1006)

    async def fail(self, _reason):
        """An exception in a handler of the reference app: over, without a word."""
        await self.close_socket(1000 if self.packed else 1006)

    async def say(self, message):
        if self.faults["chatter"]:
            for chatter in CHATTER:
                await self.send(chatter)
        await self.send(message)

    async def send(self, message, packed=None):
        if self.packed if packed is None else packed:
            await self.socket.send_bytes(msgpack.packb(message))
        else:
            await self.socket.send_str(json.dumps(message))

    async def greet_with(self, ready):
        if self.faults["garbage"]:
            await (self.socket.send_bytes(b"\xc1\xff\x00") if self.packed else self.socket.send_str("{not json"))
        if self.faults["ready_delay"]:
            await asyncio.sleep(self.faults["ready_delay"])
        if not self.faults["no_ready"]:
            await self.say(ready)
            if self.faults["second_ready"]:
                await self.say(ready)
        await self.reached("ready")

    async def answer(self, sdp, extra):
        if await self.reached("offer"):
            return
        if self.faults["error_before_answer"]:
            return await self.complain(self.faults["error_before_answer"])
        answer = {"type": "answer", "sdp": await self.media.answer(sdp)} | extra
        if self.faults["answer_sdp"] is not None:
            answer["sdp"] = self.faults["answer_sdp"]
        if self.faults["early_null"]:
            await self.say({"type": "icecandidate", "candidate": None})
        if self.faults["answer_delay"]:
            await asyncio.sleep(self.faults["answer_delay"])
        if self.faults["no_answer"]:
            return
        if self.faults["wrong_opcode"]:
            await self.send(answer, packed=not self.packed)
        else:
            await self.say(answer)
        if self.faults["second_answer"]:
            await self.say(answer)
        if self.faults["error_after_answer"]:
            await self.complain(self.faults["error_after_answer"])
        await self.reached("answer")

    async def candidate(self, said):
        await self.media.add_candidate(said)
        await self.reached("candidate")

    async def complain(self, sentence):
        if self.faults["fal_error"]:
            await self.socket.send_json({"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": sentence})
            await self.close_socket(1000)
        else:
            await self.say({"type": "error", "error": sentence})

    async def reached(self, step):
        """Whether the session ends at this step."""
        if self.faults["close_at"] != step:
            return False
        await self.close_socket(self.faults["close_code"] or 1006)
        return True

    async def close_socket(self, code):
        if code == 1006:
            if self.request.transport:
                self.request.transport.abort()
        else:
            await self.socket.close(code=code)

    async def replace(self):
        await self.media.die("vanish")
        await self.close_socket(1006)
        self.stage.runner, self.stage.seen["parameters"] = self.stage.runner[::-1] + "x", {}

    async def end_with_media(self):
        """The framework's endpoint ends with its peer connection; a raw one is left waiting."""
        await self.media.over.wait()
        if self.packed and self.faults["media_dies"] is None:
            await self.close_socket(1000)
