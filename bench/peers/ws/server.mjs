// A fan-out server on npm `ws`, for `omnivox bench fanout --peer 'ws=node bench/peers/ws/server.mjs {port}'`.
//
// It speaks the native protocol as far as the load tool needs it: subscribe, publish, message, and an echo. What people write with `ws` when they care:
// one JSON text per publication, `send` to each open socket of the channel, no compression.

import { randomBytes } from 'node:crypto';
import { WebSocketServer } from 'ws';

const port = Number(process.argv[2]);
if (!Number.isInteger(port)) {
  console.error('usage: node server.mjs PORT');
  process.exit(2);
}

const epoch = randomBytes(4).toString('hex');
/** Channel name to its subscribers and its last number. */
const channels = new Map();

function channelOf(name) {
  let channel = channels.get(name);
  if (!channel) {
    channel = { subscribers: new Set(), last: 0 };
    channels.set(name, channel);
  }
  return channel;
}

const server = new WebSocketServer({ host: '127.0.0.1', port, perMessageDeflate: false, backlog: 4096 });

server.on('connection', (socket, request) => {
  const joined = new Set();
  const echo = request.url === '/echo';
  socket.on('message', (bytes, isBinary) => {
    if (echo) {
      socket.send(bytes, { binary: isBinary });
      return;
    }
    const message = JSON.parse(bytes);
    const channel = channelOf(message.channel);
    if (message.type === 'subscribe') {
      channel.subscribers.add(socket);
      joined.add(channel);
      socket.send(JSON.stringify({ type: 'subscribed', channel: message.channel }));
    } else if (message.type === 'publish') {
      channel.last += 1;
      const { event, data } = message;
      const id = `${epoch}-${channel.last}`;
      const text = JSON.stringify({ type: 'message', channel: message.channel, id, event, data });
      for (const subscriber of channel.subscribers) {
        if (subscriber.readyState === subscriber.OPEN) subscriber.send(text);
      }
    }
  });
  socket.on('close', () => {
    for (const channel of joined) channel.subscribers.delete(socket);
  });
  socket.on('error', () => socket.terminate());
});
