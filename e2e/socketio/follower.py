"""python-socketio clients that follow a room and come back whenever they are cut off; each line on standard output is one thing that happened.

Usage: follower.py URL TRANSPORTS KIND...

A client whose KIND is `resumes` joins with the place of the newest event that it has (`since`), one that `joins` starts anew.
Lines are JSON: [client, "connect"], [client, "joined", answer], [client, "tick", number].
"""

import json
import sys
import threading

import engineio
import socketio

URL, TRANSPORTS, KINDS = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]


class InOrder(engineio.Client):
    """Handles each packet before it reads the next; the library's default is a thread for each, in any order."""

    def _trigger_event(self, event, *arguments, **options):
        return super()._trigger_event(event, *arguments, **{**options, "run_async": False})


class Socket(socketio.Client):
    def _engineio_client_class(self):
        return InOrder


class Follower:
    printing = threading.Lock()

    def __init__(self, number, kind):
        self.number, self.kind, self.place = number, kind, None
        self.socket = None

    def say(self, *words):
        with self.printing:
            print(json.dumps([self.number, *words]), flush=True)

    def connected(self):
        self.say("connect")
        request = {"room": "general"}
        if self.kind == "resumes" and self.place is not None:
            request["since"] = self.place
        self.socket.emit("join", request, callback=self.joined)

    def joined(self, answer):
        self.place = answer.get("offset", self.place)
        self.say("joined", answer)

    def tick(self, number, place):
        self.place = place
        self.say("tick", number)

    def follow(self):
        while True:
            # A client that has given up is of no use any more: it does when a connection is lost just as it comes back, and then takes itself for connected.
            self.socket = Socket(reconnection_delay=0.01, reconnection_delay_max=0.05, randomization_factor=0)
            self.socket.on("connect", self.connected)
            self.socket.on("tick", self.tick)
            try:
                self.socket.connect(URL, transports=TRANSPORTS)
            except (socketio.exceptions.ConnectionError, ValueError):
                pass
            # Returns when the library has given up.
            self.socket.wait()


for number, kind in enumerate(KINDS):
    threading.Thread(target=Follower(number, kind).follow).start()
