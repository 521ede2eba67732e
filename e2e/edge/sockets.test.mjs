// Listening without a port of our own: real nginx before a Unix socket, and sockets that systemd's own tool passes on.
// parts: nginx, systemd

import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { connect, stream } from '../lib/clients.mjs';
import { BINARY, cleanEnvironment } from '../lib/omnivox.mjs';
import { folder, freePort, program } from '../lib/programs.mjs';
import { nginx } from '../lib/proxies.mjs';
import { OPEN } from '../lib/settings.mjs';

const ROUTES = `
[[route]]
path = "/ws"
to = "ws"

[[route]]
path = "/sse"
to = "sse"
`;

function settings(t, text) {
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, text);
  return file;
}

test('nginx before a Unix socket: WebSocket, event stream, publish', async (t) => {
  const file = path.join(folder(t), 'omnivox.sock');
  const config = OPEN.replace('listen = ["127.0.0.1:0"]', 'listen = []');
  const socket = `[unix]\nlisten = [${JSON.stringify(file)}]\nmode = "600"\n`;
  const server = program(t, BINARY, ['serve', '--config', settings(t, `${config}${socket}${ROUTES}`)], { env: cleanEnvironment({ NO_COLOR: '1' }) });
  await server.printed(/listening on unix:/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const proxy = await nginx(t, file);
  const ws = await connect(t, proxy.ws);
  await ws.subscribe('general');
  const events = await stream(t, `${proxy.url}/sse?channel=general`);
  const answer = await fetch(`${proxy.url}/v1/publish`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ channel: 'general', event: 'chat', data: 'through a file' }),
  });
  assert.equal(answer.status, 200, await answer.text());
  assert.equal((await ws.next({ type: 'message' })).data, 'through a file');
  assert.equal((await events.inbox.next()).data.data, 'through a file');
  assert.equal((await server.stop('SIGTERM')).code, 0);
  assert.ok(!existsSync(file), 'the file goes with the server');
});

test('a socket that systemd passes: the first client starts the server and is served', async (t) => {
  const port = await freePort();
  const file = settings(t, OPEN);
  // systemd's tool hands on only what it is told of the environment.
  const args = ['--listen', `127.0.0.1:${port}`, '--fdname=http', BINARY, 'serve', '--config', file];
  const activate = program(t, 'systemd-socket-activate', args, { env: cleanEnvironment({ NO_COLOR: '1' }) });
  await activate.printed(/Listening on 127\.0\.0\.1:\d+ as 3/);
  assert.doesNotMatch(activate.output, /listening on http/, 'nobody has come yet');
  const status = await new Promise((resolve, reject) => {
    const client = net.connect(port, '127.0.0.1', () => client.write('GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'));
    let heard = '';
    client.on('data', (bytes) => { heard += bytes; }).on('end', () => resolve(heard.split('\r\n')[0])).on('error', reject);
  });
  assert.equal(status, 'HTTP/1.1 200 OK');
  await activate.printed(new RegExp(`listening on http://127\\.0\\.0\\.1:${port}`));
  assert.equal((await activate.stop('SIGTERM')).code, 0);
});
