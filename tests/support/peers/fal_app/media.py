"""The app's end of a peer connection: pictures in, inverted pictures with the same timestamps out."""

import asyncio
import fractions
import json
import random
import time

import aioice.ice
import aiortc.rtcrtpsender
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack, rtp

from aiortc.sdp import candidate_from_sdp
from av import VideoFrame

# aioice never uses loopback; where that is the only address there is, it has to.
own_addresses = aioice.ice.get_host_addresses
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: own_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]

TICKS = fractions.Fraction(1, 90_000)


class Inverted(VideoStreamTrack):
    def __init__(self, source, media):
        super().__init__()
        self.source, self.media, self.began, self.stalled = source, media, time.monotonic(), False

    async def recv(self):
        seen, faults = self.media.stage.seen, self.media.faults
        while True:
            frame = await self.source.recv()
            if self.stalled:
                continue
            seen["frames_in"] += 1
            if faults["keep"] and seen["frames_in"] % faults["keep"]:
                continue
            break
        if faults["delay"]:
            await asyncio.sleep(faults["delay"])
        while faults["starved"] and time.monotonic() % 4 < faults["starved"]:
            await asyncio.sleep(0.01)
        size = [frame.width, frame.height]
        if size not in seen["sizes"]:
            seen["sizes"].append(size)
        inverted = VideoFrame.from_ndarray(255 - frame.to_ndarray(format="yuv420p"), format="yuv420p")
        inverted.pts, inverted.time_base = frame.pts, frame.time_base
        if faults["timestamps"] == "own":
            inverted.pts, inverted.time_base = int((time.monotonic() - self.began) * 90_000), TICKS
        seen["frames_out"] += 1
        self.media.frames += 1
        self.media.live.set()
        return inverted


class Media:
    def __init__(self, stage, faults):
        self.stage, self.faults = stage, faults
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.live, self.over = asyncio.Event(), asyncio.Event()
        self.tracks, self.channel, self.frames = [], None, 0
        self.peer.on("track", self.take_track)
        self.peer.on("datachannel", self.take_channel)
        self.peer.on("connectionstatechange", self.follow)

    def take_track(self, track):
        if track.kind == "video":
            if self.faults["loss"]:
                lossy(self.peer.getTransceivers()[0].receiver.transport, self.faults["loss"])
            self.tracks.append(Inverted(track, self))
            watch(self.peer.addTrack(self.tracks[-1]), self.stage.seen)

    def take_channel(self, channel):
        self.channel = channel
        self.stage.seen["messages"].append({"channel": channel.label, "ordered": channel.ordered})
        channel.on("message", self.heard)

    def heard(self, text):
        self.stage.seen["messages"].append(text if isinstance(text, str) else {"binary": len(text)})
        try:
            said = json.loads(text)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if said.get("type") == "ping":
            self.notice(json.dumps({"type": "pong", "client_ts": said.get("client_ts", said.get("ts"))}))
        else:
            self.stage.seen["parameters"] |= said["params"] if said.get("type") == "session_params" else said

    def notice(self, text):
        if self.channel and self.channel.readyState == "open":
            self.channel.send(text)

    def follow(self):
        if self.peer.connectionState in ("failed", "closed"):
            self.over.set()

    async def answer(self, sdp):
        self.stage.seen["offers"].append(sdp)
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return self.peer.localDescription.sdp

    async def add_candidate(self, said):
        if said is None:
            self.stage.seen["null_candidates"] += 1
            return await self.peer.addIceCandidate(None)
        self.stage.seen["candidates"] += 1
        self.stage.seen["told_candidates"].append(said["candidate"])
        candidate = candidate_from_sdp(said["candidate"].removeprefix("candidate:"))
        candidate.sdpMid, candidate.sdpMLineIndex = said.get("sdpMid"), said.get("sdpMLineIndex")
        await self.peer.addIceCandidate(candidate)

    async def die(self, how):
        if how == "stall":
            for track in self.tracks:
                track.stalled = True
        elif how == "vanish":
            # Not a packet more, not even a farewell: the sockets are gone.
            for sender in self.peer.getTransceivers():
                for protocol in sender.receiver.transport.transport._connection._protocols:
                    protocol.transport.abort()
        else:
            await self.peer.close()

    async def close(self):
        await self.peer.close()


def lossy(transport, share):
    """Loses this share of the RTP packets both ways; which ones is the same in every run."""
    chance, take, give = random.Random(1), transport._handle_rtp_data, transport._send_rtp

    async def taken(data, arrival_time_ms):
        if chance.random() >= share:
            await take(data, arrival_time_ms)

    async def given(data):
        # Reports (RTCP payload types 72 to 79 after the marker bit) get through.
        if 72 <= data[1] & 0x7f <= 79 or chance.random() >= share:
            await give(data)

    transport._handle_rtp_data, transport._send_rtp = taken, given


def watch(sender, seen):
    """Notes the feedback that reaches a sender, and the bit rate that it encodes at in consequence."""
    handle = sender._handle_rtcp_packet

    async def noted(packet):
        if isinstance(packet, rtp.RtcpRtpfbPacket) and packet.fmt == rtp.RTCP_RTPFB_NACK:
            seen["nacks"] += 1
        elif isinstance(packet, rtp.RtcpPsfbPacket) and packet.fmt == rtp.RTCP_PSFB_PLI:
            seen["plis"] += 1
        elif isinstance(packet, rtp.RtcpPsfbPacket) and packet.fmt == rtp.RTCP_PSFB_APP:
            seen["remb"] = (seen["remb"] + [rtp.unpack_remb_fci(packet.fci)[0]])[-20:]
        await handle(packet)
        encoder = getattr(sender, "_RTCRtpSender__encoder", None)
        if (rate := getattr(encoder, "target_bitrate", None)) and seen["bitrates"][-1:] != [rate]:
            seen["bitrates"].append(rate)

    sender._handle_rtcp_packet = noted
