// A TCP proxy that cuts: after a random number of bytes, in either direction, it resets both sides.
//
// The seed makes a run repeat; a test prints it. `proxy.calm()` stops the cutting, so that a test can end.

import net from 'node:net';

/// A small generator of numbers in [0, 1) from a seed (mulberry32).
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export async function cuttingProxy(t, { port, seed, bytesMin = 600, bytesMax = 6000 }) {
  const draw = random(seed);
  // Until they are closed: a reset still waits for what was written before.
  const open = new Set();
  const proxy = { cuts: 0, connections: 0, cutting: true };

  const server = net.createServer((client) => {
    proxy.connections += 1;
    const upstream = net.connect(port, '127.0.0.1');
    let left = bytesMin + Math.floor(draw() * (bytesMax - bytesMin));
    const cut = () => {
      for (const socket of [client, upstream]) socket.resetAndDestroy();
    };
    const carry = (from, to) => {
      open.add(from);
      from.on('data', (chunk) => {
        if (!proxy.cutting || chunk.length < left) {
          left -= proxy.cutting ? chunk.length : 0;
          if (!to.write(chunk)) { from.pause(); to.once('drain', () => from.resume()); }
          return;
        }
        // Part of the chunk still goes through, so that messages are cut in the middle as well.
        proxy.cuts += 1;
        to.write(chunk.subarray(0, left), cut);
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => open.delete(from));
    };
    carry(client, upstream);
    carry(upstream, client);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

  proxy.port = server.address().port;
  proxy.url = `http://127.0.0.1:${proxy.port}`;
  proxy.ws = `ws://127.0.0.1:${proxy.port}/ws`;
  proxy.calm = () => { proxy.cutting = false; };
  /// Ends every connection now.
  proxy.cutAll = () => { for (const socket of open) { proxy.cuts += 1; socket.destroy(); } };
  t.after(() => { for (const socket of open) socket.destroy(); server.close(); });
  return proxy;
}

/// A TCP proxy whose lines can go dead: what is on them then is lost, and the server keeps its side of each as if nothing had happened.
export async function deadLine(t, port) {
  const clients = new Set();
  const upstreams = new Set();
  const line = { dead: false };
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    const lost = () => line.dead || client.lost;
    clients.add(client);
    upstreams.add(upstream);
    client.on('data', (chunk) => { if (!lost()) upstream.write(chunk); });
    upstream.on('data', (chunk) => { if (!lost()) client.write(chunk); });
    client.on('end', () => { if (!lost()) upstream.end(); });
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('close', () => { clients.delete(client); if (!lost()) upstream.destroy(); });
    upstream.on('close', () => { upstreams.delete(upstream); client.destroy(); });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  line.url = `http://127.0.0.1:${server.address().port}`;
  /// The clients notice. New connections work again.
  line.dropClients = () => {
    for (const client of clients) { client.lost = true; client.resetAndDestroy(); }
    line.dead = false;
  };
  t.after(() => { for (const socket of [...clients, ...upstreams]) socket.destroy(); server.close(); });
  return line;
}
