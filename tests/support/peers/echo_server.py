"""An aiortc server that sends every frame back, behind the same REST calls as gst-scope. `echo_server.py`

The yardstick of `gst-scope bench webrtc`: the least that a Python server can do with a frame. It prints its address
when it listens, and takes a free port.
"""

import asyncio
import json
import uuid

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

# aioice never uses loopback; where that is the only address there is, it has to.
own_addresses = aioice.ice.get_host_addresses
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: own_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]

peers = {}


async def offer(body):
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.on("track", peer.addTrack)
    await peer.setRemoteDescription(RTCSessionDescription(body["sdp"], "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    name = str(uuid.uuid4())
    peers[name] = peer
    return 200, {"sdp": peer.localDescription.sdp, "type": "answer", "sessionId": name}


async def route(method, path, body):
    if method == "POST" and path == "/api/v1/webrtc/offer":
        return await offer(json.loads(body))
    if method == "DELETE" and (peer := peers.pop(path.rpartition("/")[2], None)):
        await peer.close()
    return 204, None


async def serve(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split(" ", 2)
    lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    status, reply = await route(method, path, body)
    text = b"" if reply is None else json.dumps(reply).encode()
    writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
