// The client, first step: the same loop without the pause. omnivox answers when there is something, or after 30 seconds.
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

let last = await load();
for (;;) {
  const response = await fetch(`${omnivox}/v1/poll?channel=orders&last=${last}`);
  if (!response.ok) throw new Error(await response.text());
  const answer = await response.json();
  for (const event of answer.events) show(event.data);
  last = answer.gap ? await load() : answer.last;   // a gap: more was missed than is kept
}
