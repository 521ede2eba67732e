// The client, second step: one request that stays open. A browser has EventSource; elsewhere `npm install eventsource`.
import { EventSource } from 'eventsource';

const shop = process.env.SHOP ?? 'http://127.0.0.1:3000';
const omnivox = process.env.OMNIVOX ?? 'http://127.0.0.1:8080';
const shown = new Set();

function show(order) {
  if (shown.has(order.number)) return;
  shown.add(order.number);
  console.log(`order ${order.number}: ${order.item}`);
}

async function load() {
  const { orders, mark } = await (await fetch(`${shop}/orders`)).json();
  orders.forEach(show);
  return mark;
}

// After a loss of the connection EventSource comes back by itself, with the id of the last event that it got.
const source = new EventSource(`${omnivox}/v1/sse?channel=orders&since=${await load()}`);
source.onmessage = (event) => show(JSON.parse(event.data).data);
source.addEventListener('error', (event) => {
  if (event.data && JSON.parse(event.data).code === 'gap') load();   // more was missed than is kept
});
