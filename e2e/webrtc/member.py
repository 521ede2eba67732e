"""A member of a room that is no browser: aiortc, with plain requests and polls for the signalling.

Usage: member.py URL ROOM NAME PEERS [--policy all|relay] [--over udp|tcp|tls] [--frames N]

Sends video and a message over a data channel to everyone in the room. Once it has the message and the video frames of so many
peers it prints one line of JSON that says how it is connected to each; a line on its standard input makes it leave.
"""

import argparse
import asyncio
import json
import sys
import uuid

import requests
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.sdp import candidate_from_sdp

PATIENCE_S = 60


class Peer:
    """One connection. aiortc takes no offer back, so only the impolite one of two offers."""

    def __init__(self, room, about):
        self.room, self.member, self.polite = room, about["member"], about["polite"]
        self.name = (about.get("data") or {}).get("name", "")
        self.frames, self.heard = 0, None
        self.connection = RTCPeerConnection(room.configuration)
        self.connection.addTrack(VideoStreamTrack())
        self.connection.on("track", lambda track: asyncio.ensure_future(self.count(track)))
        self.connection.on("datachannel", self.use)

    async def offer(self):
        self.use(self.connection.createDataChannel("omnivox"))
        await self.describe(await self.connection.createOffer())

    async def describe(self, description):
        await self.connection.setLocalDescription(description)
        local = self.connection.localDescription
        await self.room.signal(self.member, {"description": {"type": local.type, "sdp": local.sdp}})

    async def hear(self, data):
        description = data.get("description")
        if description and not (description["type"] == "offer" and self.connection.signalingState != "stable"):
            await self.connection.setRemoteDescription(RTCSessionDescription(description["sdp"], description["type"]))
            if description["type"] == "offer":
                await self.describe(await self.connection.createAnswer())
        for candidate in data.get("candidates", []):
            if not candidate.get("candidate"):
                continue
            parsed = candidate_from_sdp(candidate["candidate"].split(":", 1)[1])
            parsed.sdpMid, parsed.sdpMLineIndex = candidate.get("sdpMid"), candidate.get("sdpMLineIndex")
            await self.connection.addIceCandidate(parsed)

    def use(self, channel):
        def say():
            channel.send(json.dumps({"text": f"hi from {self.room.name}"}))

        channel.on("message", self.listen)
        if channel.readyState == "open":
            say()
        else:
            channel.on("open", say)

    def listen(self, text):
        self.heard = json.loads(text)["text"]
        self.room.look()

    async def count(self, track):
        while True:
            try:
                await track.recv()
            except Exception:
                return
            self.frames += 1
            self.room.look()

    def path(self):
        """The kinds of the two candidates that were chosen."""
        pair = self.connection.sctp.transport.transport._connection._nominated[1]
        return {"name": self.name, "heard": self.heard, "local": pair.local_candidate.type, "remote": pair.remote_candidate.type}


class Room:
    def __init__(self, options):
        self.url, self.name, self.wanted, self.frames = options.url, options.name, options.peers, options.frames
        self.proof = {"channel": options.room, "seat": str(uuid.uuid4())}
        self.options = options
        self.peers, self.done = {}, asyncio.Event()
        self.session = requests.Session()
        self.order = asyncio.Lock()

    async def post(self, what, **more):
        # One after the other, so that a candidate never overtakes its description.
        async with self.order:
            body = {**self.proof, **more}
            answer = await asyncio.to_thread(requests.post, f"{self.url}/v1/rooms/{what}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()

    async def signal(self, to, data):
        await self.post("signal", to=to, data=data)

    async def enter(self):
        seat = await self.post("enter", data={"name": self.name})
        self.proof["member"], self.inbox, self.last = seat["member"], seat["inbox"], seat["last"]
        self.configuration = RTCConfiguration(
            iceServers=[self.server(server) for server in seat["iceServers"]],
            iceTransportPolicy=RTCIceTransportPolicy(self.options.policy),
        )
        for peer in seat["peers"]:
            await self.meet(peer)

    def server(self, server):
        """aiortc uses one relay: that over the wanted protocol."""
        if "username" not in server:
            return RTCIceServer(urls=server["urls"])
        over = self.options.over
        fits = {"udp": "?transport=udp", "tcp": "?transport=tcp", "tls": "turns:"}[over]
        scheme = "turns:" if over == "tls" else "turn:"
        url = next(url for url in server["urls"] if fits in url and url.startswith(scheme))
        return RTCIceServer(urls=[url], username=server["username"], credential=server["credential"])

    async def meet(self, about):
        if about["member"] in self.peers:
            return
        peer = self.peers[about["member"]] = Peer(self, about)
        if not peer.polite:
            await peer.offer()

    async def read(self):
        while True:
            query = {"inbox": self.inbox, "last": self.last, "timeout": 5}
            answer = await asyncio.to_thread(self.session.get, f"{self.url}/v1/poll", params=query, timeout=30)
            answer.raise_for_status()
            page = answer.json()
            self.last = page["last"]
            for event in page["events"]:
                await self.take(event)

    async def take(self, event):
        if event["type"] == "presence":
            member = event["member"]
            if event["action"] == "enter":
                polite = self.proof["member"] > member["key"]
                await self.meet({"member": member["key"], "polite": polite, "data": member["data"]})
            else:
                gone = self.peers.pop(member["key"], None)
                if gone:
                    await gone.connection.close()
        elif event["type"] == "signal" and event["from"] in self.peers:
            await self.peers[event["from"]].hear(event["data"])

    def look(self):
        ready = [peer for peer in self.peers.values() if peer.heard and peer.frames >= self.frames]
        if len(ready) >= self.wanted and not self.done.is_set():
            self.done.set()
            print(json.dumps({"done": sorted((peer.path() for peer in ready), key=lambda path: path["name"])}), flush=True)

    async def leave(self):
        await self.post("leave")
        for peer in list(self.peers.values()):
            await peer.connection.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("room")
    parser.add_argument("name")
    parser.add_argument("peers", type=int)
    parser.add_argument("--policy", default="all")
    parser.add_argument("--over", default="udp")
    parser.add_argument("--frames", type=int, default=5)
    room = Room(parser.parse_args())
    await room.enter()
    print(json.dumps({"entered": room.proof["member"]}), flush=True)
    reading = asyncio.ensure_future(room.read())
    waiting = asyncio.ensure_future(asyncio.wait_for(room.done.wait(), PATIENCE_S))
    await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        reading.result()
    waiting.result()
    await asyncio.to_thread(sys.stdin.readline)
    reading.cancel()
    await room.leave()


asyncio.run(main())
