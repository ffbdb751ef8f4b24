"""A WebSocket that sends and receives what it is told. `raw_socket.py URL KEY`"""

import asyncio
import sys

import aiohttp

import driven


class Socket:
    def __init__(self, url, key):
        self.url, self.key, self.session, self.socket, self.heard = url, key, None, None, []

    async def open(self):
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(self.url, headers={"Authorization": f"Key {self.key}"})
        self.reading = asyncio.ensure_future(self.read())

    async def read(self):
        async for message in self.socket:
            self.heard.append(message.data)

    async def send(self, text):
        await self.socket.send_str(text)

    async def receive(self):
        """Everything that came since the last call."""
        heard, self.heard = self.heard, []
        return {"messages": heard}


async def main():
    socket = Socket(*sys.argv[1:3])
    await driven.serve({name: getattr(socket, name) for name in ("open", "send", "receive")})
    if socket.session:
        await socket.session.close()


asyncio.run(main())
