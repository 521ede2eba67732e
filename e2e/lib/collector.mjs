// A collector of OpenTelemetry traces for tests: it answers as it is told and keeps what it was sent.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { within } from './inbox.mjs';
import { ROOT } from './omnivox.mjs';

const PYTHON = path.join(ROOT, 'target/venv/bin/python');
const READER = path.join(ROOT, 'e2e/lib/otlp.py');

/// The spans of all requests, by the official definition; it refuses what OTLP does not know.
export function spans(requests) {
  const lines = execFileSync(PYTHON, [READER], { input: requests.map(({ body }) => `${body}\n`).join(''), encoding: 'utf8' });
  return lines.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

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
