// The shop's own server, before: browsers ask it again and again.
//   GET /orders?after=2 · POST /orders {"item":"tea"}
import { createServer } from 'node:http';

const orders = [];

createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (request.method === 'POST') {
    let body = '';
    for await (const piece of request) body += piece;
    orders.push({ number: orders.length + 1, item: JSON.parse(body).item });
    return response.writeHead(201).end();
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(orders.slice(Number(url.searchParams.get('after')))));
}).listen(Number(process.env.PORT ?? 3000), '127.0.0.1', function () { console.log(`http://127.0.0.1:${this.address().port}`); });
