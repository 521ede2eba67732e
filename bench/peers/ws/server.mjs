// A fan-out server on Node: npm `ws` for WebSocket, `node:http` for event streams.
//
//   omnivox bench fanout --peer 'npm ws=node bench/peers/ws/server.mjs {port}'
//   omnivox bench fanout --transport sse --peer 'node http=node bench/peers/ws/server.mjs {port}'
//
// It speaks the native protocol as far as the load tool needs it: subscribe, publish, message, an echo, `/sse`. It is what people write when they care: one
// text per publication and transport, `send` or `write` to each open client of the channel, no compression.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const port = Number(process.argv[2]);
if (!Number.isInteger(port)) {
  console.error('usage: node server.mjs PORT');
  process.exit(2);
}

const epoch = randomBytes(7).toString('hex').slice(1);
/** Channel name to its subscribers and its last number. */
const channels = new Map();

function channelOf(name) {
  let channel = channels.get(name);
  if (!channel) {
    channel = { sockets: new Set(), streams: new Set(), last: 0 };
    channels.set(name, channel);
  }
  return channel;
}

function publish({ channel: name, event, data }) {
  const channel = channelOf(name);
  channel.last += 1;
  const id = `${epoch}-${channel.last}`;
  const text = JSON.stringify({ type: 'message', channel: name, id, event, data });
  for (const socket of channel.sockets) {
    if (socket.readyState === socket.OPEN) socket.send(text);
  }
  const record = `id: ${id}\ndata: ${text}\n\n`;
  for (const stream of channel.streams) stream.write(record);
}

const http = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname !== '/sse') {
    response.writeHead(404).end();
    return;
  }
  const channel = channelOf(url.searchParams.get('channel'));
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  response.write(':ok\n\n');
  channel.streams.add(response);
  response.on('close', () => channel.streams.delete(response));
});

const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on('connection', (socket, request) => {
  const joined = new Set();
  const echo = request.url === '/echo';
  socket.on('message', (bytes, isBinary) => {
    if (echo) {
      socket.send(bytes, { binary: isBinary });
      return;
    }
    const message = JSON.parse(bytes);
    if (message.type === 'publish') {
      publish(message);
    } else if (message.type === 'subscribe') {
      const channel = channelOf(message.channel);
      channel.sockets.add(socket);
      joined.add(channel);
      socket.send(JSON.stringify({ type: 'subscribed', channel: message.channel }));
    }
  });
  socket.on('close', () => {
    for (const channel of joined) channel.sockets.delete(socket);
  });
  socket.on('error', () => socket.terminate());
});

http.listen({ host: '127.0.0.1', port, backlog: 4096 });
