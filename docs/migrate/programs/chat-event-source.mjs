// A chat with EventSource and fetch: what is said goes by its own requests. `node chat-event-source.mjs ann`, then type.
import { createInterface } from 'node:readline';
import { EventSource } from 'eventsource';

const omnivox = process.env.OMNIVOX ?? 'http://127.0.0.1:8080';
const [user] = process.argv.slice(2);

const source = new EventSource(`${omnivox}/v1/sse?channel=chat`);
source.onopen = () => console.log('here');
source.onmessage = (event) => {
  const { data } = JSON.parse(event.data);
  console.log(`${data.user}: ${data.text}`);
};

createInterface({ input: process.stdin }).on('line', (text) => fetch(`${omnivox}/v1/publish`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ channel: 'chat', event: 'line', data: { user, text } }),
}));
