// A collector of OpenTelemetry traces for tests: it answers as it is told and keeps what it was sent.

import { once } from 'node:events';
import http from 'node:http';
import { within } from './inbox.mjs';

/// Its URL, its requests so far, and a promise for when there are so many.
export async function collector(t, answers = []) {
  const requests = [];
  const watchers = new Set();
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    requests.push({ method: request.method, url: request.url, headers: request.headers, body });
    const { status = 200, headers = {}, text = '{"partialSuccess":{}}' } = answers.shift() ?? {};
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text);
    for (const watcher of watchers) watcher();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  const came = (count) => within(new Promise((resolve) => {
    const look = () => { if (requests.length >= count) { watchers.delete(look); resolve(); } };
    watchers.add(look);
    look();
  }), `${count} requests to the collector`);
  return { url: `http://127.0.0.1:${server.address().port}/v1/traces`, requests, came };
}
