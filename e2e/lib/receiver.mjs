// A back end that receives webhooks, and verifies their signatures with nothing but Node's own crypto.

import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { Inbox } from './inbox.mjs';

/// Whether one of the signatures is right.
export function genuine(key, headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
  const expected = `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`;
  return Math.abs(Date.now() / 1000 - Number(timestamp)) < 60 && signatures.split(' ').includes(expected);
}

export class Receiver {
  requests = new Inbox();
  events = new Inbox();
  /// Statuses for the next requests; then 204.
  answers = [];
  #server = null;
  port = 0;

  /// Listens, on the port that it had before if it had one.
  async listen() {
    this.#server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const status = this.answers.shift() ?? 204;
      const parsed = JSON.parse(body);
      this.requests.push({ path: request.url, headers: request.headers, body, events: parsed.events, status });
      if (status < 300) for (const event of parsed.events) this.events.push({ ...event, app: parsed.app, webhook: parsed.webhook });
      response.writeHead(status).end();
    });
    await new Promise((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve));
    ({ port: this.port } = this.#server.address());
    this.url = `http://127.0.0.1:${this.port}`;
  }

  async close() {
    this.#server?.closeAllConnections();
    await new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve()));
    this.#server = null;
  }

  /// The next event of that type, in that channel if one is named.
  next(type, channel) {
    const wanted = (event) => event.type === type && (channel === undefined || event.channel === channel);
    return this.events.next(wanted, `the event ${type} ${channel ?? ''}`);
  }
}

export async function receiver(t) {
  const opened = new Receiver();
  await opened.listen();
  t.after(() => opened.close());
  return opened;
}
