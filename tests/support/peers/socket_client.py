"""The WebRTC client that makes its offers over a WebSocket, as clients of a fal app do. `socket_client.py URL`

It waits for `ready`, offers, sends its candidates one by one and the null that ends them, and keeps the socket open.
"""

import asyncio
import json
import sys

import aiohttp

import client


class SocketClient(client.Client):
    def __init__(self, address):
        super().__init__(address)
        self.http = self.socket = None
        self.said = asyncio.Queue()

    async def connect(self):
        """Opens the socket; the reply is the first thing the server says."""
        self.http = aiohttp.ClientSession()
        self.socket = await self.http.ws_connect(self.base)
        self.tasks.append(asyncio.ensure_future(self.listen()))
        return await self.next()

    async def listen(self):
        # aiohttp forgets what nobody waits for when the connection ends.
        async for message in self.socket:
            self.said.put_nowait(message.data)

    async def next(self, timeout=60):
        """What the server says next."""
        return json.loads(await asyncio.wait_for(self.said.get(), timeout))

    async def ask(self, message):
        """Says something and gives the reply: what repeats the id of the request, or else the next thing said."""
        await self.socket.send_str(json.dumps(message))
        reply = await self.next()
        while "request_id" in message and reply.get("request_id") != message["request_id"]:
            reply = await self.next()
        return reply

    async def exchange(self, body):
        offer = {"type": "offer", "sdp_type": "offer", "sdp": body["sdp"], "initialParameters": body["initialParameters"]}
        answer = await self.ask(offer)
        if answer["type"] != "answer":
            return 400, answer
        line = next(line for line in body["sdp"].splitlines() if line.startswith("a=candidate:"))
        session = {"sessionId": answer["sessionId"]} if "sessionId" in answer else {}
        candidate = {"candidate": line.removeprefix("a="), "sdpMid": "0", "sdpMLineIndex": 0}
        for one in (candidate, None):
            await self.socket.send_str(json.dumps({"type": "icecandidate", "candidate": one} | session))
        return 200, {"sdp": answer["sdp"], "type": "answer"} | session

    async def hang_up(self):
        """Closes the socket and nothing else: the media goes on until the server ends it."""
        await self.socket.close()
        await self.http.close()


async def main():
    await client.serve(SocketClient(sys.argv[1]), client.COMMANDS + ("connect", "next", "ask", "hang_up"))


asyncio.run(main())
