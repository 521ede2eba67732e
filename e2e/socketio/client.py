"""Two python-socketio clients in one room; what they saw goes to standard output as JSON.

Usage: client.py URL TRANSPORTS
"""

import json
import sys
import threading

import socketio

URL, TRANSPORTS = sys.argv[1], sys.argv[2].split(",")


class Client:
    def __init__(self, namespace="/"):
        self.socket = socketio.Client(reconnection=False)
        self.namespace = namespace
        self.seen = []
        self.more = threading.Condition()
        self.socket.on("*", self.heard, namespace=namespace)
        self.socket.connect(URL, transports=TRANSPORTS, namespaces=[namespace], wait_timeout=10)

    def heard(self, event, *arguments):
        with self.more:
            self.seen.append([event, *arguments])
            self.more.notify_all()

    def wait(self, count):
        with self.more:
            if not self.more.wait_for(lambda: len(self.seen) >= count, timeout=10):
                raise TimeoutError(f"{count} events were due, there are {self.seen}")

    def call(self, event, *arguments):
        return self.socket.call(event, arguments, namespace=self.namespace, timeout=10)


def plain(value):
    return {"bytes": list(value)} if isinstance(value, (bytes, bytearray)) else value


one, other, admin = Client(), Client(), Client("/admin")
answers = [one.call("join", "general"), other.call("join", ["general", "news"]), admin.call("join", "news")]
sent = one.call("chat", "text", 7, None, {"nested": [True, 1.5]}, "é😀")
other.wait(1)
one.call("blob", bytes([0, 1, 127, 128, 255]))
other.wait(2)
published = admin.call("publish", "news", "secret", 1)
admin.wait(1)
refused = one.call("join", "private-a")
result = {
    "joined": [answer["ok"] for answer in answers],
    "sent": sent["ok"],
    # The last argument is the place to resume from.
    "other": [[plain(value) for value in event[:-1]] for event in other.seen],
    "admin": [event[:-1] for event in admin.seen],
    "one": one.seen,
    "published": published["ok"],
    "refused": refused["error"]["code"],
    "transports": [client.socket.transport() for client in (one, other, admin)],
}
for client in (one, other, admin):
    client.socket.disconnect()
print(json.dumps(result))
