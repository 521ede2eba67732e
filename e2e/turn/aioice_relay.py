"""Two aioice agents that may use relay candidates only exchange datagrams through the relay.

Usage: aioice_relay.py HOST PORT udp|tcp|tls USER PASSWORD
Prints "relayed N" and ends with 0 when every datagram came through in both directions. For TLS the certificate's
authority is taken from SSL_CERT_FILE.
"""

import asyncio
import sys

import aioice

DATAGRAMS = 50


def agent(controlling, host, port, transport, user, password):
    return aioice.Connection(
        ice_controlling=controlling,
        components=1,
        turn_server=(host, port),
        turn_username=user,
        turn_password=password,
        turn_transport="udp" if transport == "udp" else "tcp",
        turn_ssl=transport == "tls",
        transport_policy=aioice.TransportPolicy.RELAY,
    )


async def introduce(one, other):
    """Candidates and passwords, as signalling would carry them."""
    for candidate in one.local_candidates:
        assert candidate.type == "relay", candidate
        await other.add_remote_candidate(candidate)
    await other.add_remote_candidate(None)
    other.remote_username = one.local_username
    other.remote_password = one.local_password


async def exchange(one, other):
    for number in range(DATAGRAMS):
        message = number.to_bytes(2, "big") * (1 + number)
        await one.send(message)
        received = await asyncio.wait_for(other.recv(), 5)
        assert received == message, (received, message)


async def main(host, port, transport, user, password):
    one = agent(True, host, int(port), transport, user, password)
    other = agent(False, host, int(port), transport, user, password)
    await asyncio.gather(one.gather_candidates(), other.gather_candidates())
    await introduce(one, other)
    await introduce(other, one)
    await asyncio.wait_for(asyncio.gather(one.connect(), other.connect()), 20)
    await exchange(one, other)
    await exchange(other, one)
    await asyncio.gather(one.close(), other.close())
    print(f"relayed {2 * DATAGRAMS}")


asyncio.run(main(*sys.argv[1:]))
