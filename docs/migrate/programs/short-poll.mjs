// The client, before: a request each second, almost always for nothing.
const shop = process.env.SHOP ?? 'http://127.0.0.1:3000';
let after = 0;

setInterval(async () => {
  const orders = await (await fetch(`${shop}/orders?after=${after}`)).json();
  for (const order of orders) console.log(`order ${order.number}: ${order.item}`);
  after += orders.length;
}, 1000);
