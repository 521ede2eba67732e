// Real Socket.IO clients of several generations, for tests.

import { createRequire } from 'node:module';
import { Inbox, within } from './inbox.mjs';

const require = createRequire(import.meta.url);

/// The clients, each with its version and whether it speaks Engine.IO 3.
export const CLIENTS = [
  { name: 'socket.io-client 4.8', io: require('socket.io-client').io },
  { name: 'socket.io-client 4.0', io: require('socket.io-client-4.0').io },
  { name: 'socket.io-client 3.1', io: require('socket.io-client-3').io },
  { name: 'socket.io-client 2.5', io: require('socket.io-client-2'), engine3: true },
];
export const [NEWEST] = CLIENTS;

export const TRANSPORTS = [
  ['polling', { transports: ['polling'] }],
  ['WebSocket', { transports: ['websocket'] }],
  ['polling, then the upgrade', {}],
];

/// The settings that serve all generations.
export const ENGINE3 = '[socketio]\nallow_eio3 = true\n';

/// A connected client; all its events land in `inbox` as `[name, ...arguments]`.
export async function connect(t, client, url, options = {}) {
  const socket = client.io(url, { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...options });
  const inbox = new Inbox();
  const { onevent } = socket;
  // `onAny` is younger than some of these clients; every event passes here in all of them.
  socket.onevent = function (packet) { inbox.push(packet.data); onevent.call(this, packet); };
  t.after(() => socket.close());
  const connected = new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', (error) => { if (!socket.connected) reject(error); });
  });
  await within(connected, `${client.name} to connect`);
  return {
    socket,
    inbox,
    /// Emits and waits for the acknowledgement.
    ask: (...event) => within(new Promise((resolve) => { socket.emit(...event, resolve); }), `an answer to ${event[0]}`),
    next: (name) => inbox.next(([event]) => event === name, `the event ${name}`),
  };
}

/// Connects and joins rooms.
export async function joined(t, client, url, rooms, options) {
  const connected = await connect(t, client, url, options);
  const answer = await connected.ask('join', rooms);
  if (!answer.ok) throw new Error(`join: ${JSON.stringify(answer)}`);
  return connected;
}

/// Waits until the client has changed from polling to WebSocket.
export function upgraded({ socket }) {
  const { engine } = socket.io;
  if (engine.transport.name === 'websocket') return Promise.resolve();
  return within(new Promise((resolve) => { engine.once('upgrade', resolve); }), 'the upgrade to WebSocket');
}
