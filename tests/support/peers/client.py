"""A WebRTC client that shares no code with GStreamer: aiortc, driven by a test. `client.py BASE_URL`

It speaks the three offers that Scope's clients make: `legacy` (a track and prompts, nothing about pipelines), `graph`
(what Scope's own page sends, with an audio line) and `text` (no track at all).
"""

import asyncio
import fractions
import json
import sys
import time
import urllib.error
import urllib.request

import aioice.ice
import numpy
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack
from aiortc.rtcsctptransport import WEBRTC_STRING
from av import VideoFrame

import driven

# aioice never uses loopback; where that is the only address there is, it has to.
own_addresses = aioice.ice.get_host_addresses
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: own_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]

LEFT, RIGHT = (200, 60, 40), (40, 160, 60)
TICKS = 90_000


class Picture(VideoStreamTrack):
    """Two halves, red and green, and a white bar that walks over them. 30 frames a second."""

    def __init__(self, size):
        super().__init__()
        self.base = numpy.empty((size, size, 3), dtype=numpy.uint8)
        self.base[:, : size // 2], self.base[:, size // 2 :] = LEFT, RIGHT
        self.started, self.count = time.monotonic(), 0

    async def recv(self):
        self.count += 1
        await asyncio.sleep(max(0, self.started + self.count / 30 - time.monotonic()))
        pixels = self.base.copy()
        size = len(pixels)
        at = self.count * 4 % (size - 8)
        pixels[size // 2 - 4 : size // 2 + 4, at : at + 8] = 255
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = self.count * TICKS // 30, fractions.Fraction(1, TICKS)
        return frame


class Client:
    def __init__(self, base):
        self.base = base
        self.tasks, self.messages, self.count, self.last, self.first, self.began = [], [], 0, None, None, 0.0
        self.connect_by(RTCConfiguration(iceServers=[]))

    def connect_by(self, configuration):
        self.peer = RTCPeerConnection(configuration)
        self.channel = self.peer.createDataChannel("parameters", ordered=True)
        self.channel.on("message", self.heard)
        self.peer.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self.watch(track))))

    def heard(self, text):
        self.messages.append(json.loads(text))

    async def watch(self, track):
        while track.kind == "video":
            try:
                self.last = await track.recv()
            except MediaStreamError:
                return
            self.count += 1
            self.first = self.first or time.monotonic()

    async def offer(self, mode, pipeline=None, prompts=(), parameters=None, size=256):
        """Makes the offer and takes the answer; a refusal is a reply, not an error."""
        if mode == "text":
            self.peer.addTransceiver("video")
        else:
            self.peer.addTrack(Picture(size))
        if mode == "graph":
            self.peer.addTransceiver("audio", direction="recvonly")
        initial = {"input_mode": "text" if mode == "text" else "video"}
        initial |= {"prompts": [{"text": text, "weight": 1.0} for text in prompts]} if prompts else {}
        initial |= graph(pipeline) if mode == "graph" else {"pipeline_ids": [pipeline]} if pipeline else {}
        await self.peer.setLocalDescription(await self.peer.createOffer())
        self.began = time.monotonic()
        body = {"sdp": self.peer.localDescription.sdp, "type": "offer", "initialParameters": initial | (parameters or {})}
        status, reply = await self.exchange(body)
        if status == 200:
            await self.peer.setRemoteDescription(RTCSessionDescription(reply["sdp"], reply["type"]))
        return {"status": status, "reply": reply}

    async def relay(self):
        """Takes the way through the server's own TURN servers from here on, and no other."""
        await self.peer.close()
        handed_out = (await asyncio.to_thread(fetch, f"{self.base}/api/v1/webrtc/ice-servers"))["iceServers"]
        servers = [RTCIceServer(**server) for server in handed_out]
        self.connect_by(RTCConfiguration(servers, iceTransportPolicy=RTCIceTransportPolicy.RELAY))
        return {"servers": len(servers)}

    async def exchange(self, body):
        """Carries an offer to the server: status and reply, as REST has them."""
        return await asyncio.to_thread(post, f"{self.base}/api/v1/webrtc/offer", body)

    async def frames(self, count=1, timeout=20):
        """Waits for so many more frames, then tells what the last one looks like."""
        until, came, began = time.monotonic() + timeout, self.count, time.monotonic()
        while self.count < came + count:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.count - came} of {count} frames came within {timeout} s, "
                                   f"the connection is {self.peer.connectionState}")
            await asyncio.sleep(0.01)
        pixels = self.last.to_ndarray(format="rgb24").astype(float)
        half = pixels.shape[1] // 2
        mean = lambda part: [round(value) for value in part.mean(axis=(0, 1))]
        return {"width": pixels.shape[1], "height": pixels.shape[0], "mean": mean(pixels), "left": mean(pixels[:, :half]),
                "right": mean(pixels[:, half:]), "contrast": round(pixels.std()), "first_ms": (self.first - self.began) * 1000,
                "fps": count / (time.monotonic() - began)}

    async def send(self, data, timeout=10):
        """Sends a patch, an object or a text as it stands, on the parameter channel."""
        await until(lambda: self.channel.readyState == "open", timeout, "the channel did not open")
        self.channel.send(data if isinstance(data, str) else json.dumps(data))

    async def send_raw(self, data, timeout=10):
        """Sends these bytes as if they were text, which no browser lets a page do."""
        await until(lambda: self.channel.readyState == "open", timeout, "the channel did not open")
        sctp = self.peer.sctp
        await sctp._send(self.channel.id, WEBRTC_STRING, bytes(data))

    async def message(self, kind, timeout=10):
        """Waits for a message of this type from the server."""
        known = lambda: [message for message in self.messages if message.get("type") == kind]
        await until(known, timeout, f"no `{kind}` among {self.messages}")
        return known()[0]

    async def state(self):
        return {"state": self.peer.connectionState, "frames": self.count, "messages": self.messages}

    async def close(self):
        await self.peer.close()


def graph(pipeline):
    """What Scope's page sends: a source, one pipeline, a sink."""
    edge = lambda start, end: {"from": start, "from_port": "video", "to_node": end, "to_port": "video", "kind": "stream"}
    nodes = [{"id": "input", "type": "source", "source_mode": "video"},
             {"id": pipeline, "type": "pipeline", "pipeline_id": pipeline}, {"id": "output", "type": "sink"}]
    return {"pipeline_ids": [pipeline], "produces_video": True, "produces_audio": False,
            "graph": {"nodes": nodes, "edges": [edge("input", pipeline), edge(pipeline, "output")]}}


def fetch(address):
    with urllib.request.urlopen(address, timeout=60) as reply:
        return json.load(reply)


def post(address, body):
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


async def until(condition, timeout, sentence):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(sentence)
        await asyncio.sleep(0.01)


COMMANDS = ("offer", "relay", "frames", "send", "send_raw", "message", "state", "close")


async def serve(client, commands=COMMANDS):
    await driven.serve({name: getattr(client, name) for name in commands})
    await client.peer.close()


async def main():
    await serve(Client(sys.argv[1]))


if __name__ == "__main__":
    asyncio.run(main())
