// The shop's own server, after: it keeps what is true and tells omnivox what is new.
//   GET /orders gives { orders, mark } · POST /orders {"item":"tea"}
import { createServer } from 'node:http';

const omnivox = process.env.OMNIVOX ?? 'http://127.0.0.1:8080';
const orders = [];
let mark = 'earliest';   // the place in the channel up to which `orders` is complete

async function publish(order) {
  const response = await fetch(`${omnivox}/v1/publish`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(process.env.KEY && { authorization: `Basic ${btoa(process.env.KEY)}` }) },
    body: JSON.stringify({ channel: 'orders', event: 'order', data: order, id: `order-${order.number}` }),   // repeated, it is published once
  });
  if (!response.ok) throw new Error(await response.text());
  mark = (await response.json()).id;
}

createServer(async (request, response) => {
  if (request.method === 'POST') {
    let body = '';
    for await (const piece of request) body += piece;
    const order = { number: orders.length + 1, item: JSON.parse(body).item };
    orders.push(order);
    await publish(order);
    return response.writeHead(201).end();
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ orders, mark }));
}).listen(Number(process.env.PORT ?? 3000), '127.0.0.1', function () { console.log(`http://127.0.0.1:${this.address().port}`); });
