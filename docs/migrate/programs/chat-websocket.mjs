// The same chat with a WebSocket: what is said goes where what is heard comes from. `node chat-websocket.mjs ann`, then type.
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const omnivox = process.env.OMNIVOX ?? 'http://127.0.0.1:8080';
const [user] = process.argv.slice(2);
let socket;
let last;   // what EventSource does by itself is done by hand: remember the last id, come back with it

function connect() {
  socket = new WebSocket(`${omnivox.replace('http', 'ws')}/v1/ws`);
  socket.onopen = () => socket.send(JSON.stringify({ type: 'subscribe', channel: 'chat', since: last }));
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === 'error') throw new Error(message.message);
    if (message.type === 'subscribed') console.log('here');
    if (message.type === 'message') console.log(`${message.data.user}: ${message.data.text}`);
    last = message.id ?? last;   // `subscribed` has one too: where the channel stands
  };
  socket.onclose = () => setTimeout(connect, 1000 + 1000 * Math.random());
  socket.onerror = () => {};   // onclose follows
}
connect();

createInterface({ input: process.stdin }).on('line', (text) => {
  socket.send(JSON.stringify({ type: 'publish', channel: 'chat', event: 'line', data: { user, text } }));
});
