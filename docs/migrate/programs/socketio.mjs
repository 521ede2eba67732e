// The client, with socket.io-client: `npm install socket.io-client`.
import { io } from 'socket.io-client';

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

const socket = io(omnivox);
socket.on('order', show);
socket.on('gap', load);
socket.on('connect', async () => {
  if (socket.recovered) return;   // the rooms are still joined, and what was missed came before this
  const answer = await socket.emitWithAck('join', { room: 'orders', since: await load() });
  if (!answer.ok) throw new Error(answer.error.message);
  if (answer.gap) await load();
});
