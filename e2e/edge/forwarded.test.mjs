// Who the client is behind real nginx and HAProxy: X-Forwarded-For, Forwarded, and the PROXY protocol, versions 1 and 2. A client that
// writes these itself is not believed.
// parts: nginx, haproxy
// budget: 180 s

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { omnivox } from '../lib/omnivox.mjs';
import { freePort } from '../lib/programs.mjs';
import { haproxy, nginx } from '../lib/proxies.mjs';
import { OPEN } from '../lib/settings.mjs';

const LIMITS = '\n[limits]\nrequests_per_address_per_second_max = 1\n';

/// The status of a request from this address of loopback, on a connection of its own.
function status(port, localAddress, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/health', localAddress, headers, agent: false }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode));
    });
    request.on('error', reject);
  });
}

/// Whether two clients count as one where each may send one request a second.
async function same(port, one, other) {
  for (;;) {
    const begun = performance.now();
    await status(port, ...one);
    const second = await status(port, ...other);
    if (second === 429) return true;
    assert.equal(second, 200);
    // On a busy machine the budget may have come back meanwhile.
    if (performance.now() - begun < 900) return false;
  }
}

/// The same truth through every way of telling it.
async function assertClientsAreKnown(port, forged) {
  assert.equal(await same(port, ['127.0.0.11'], ['127.0.0.12']), false, 'two clients are two');
  assert.equal(await same(port, ['127.0.0.13'], ['127.0.0.13']), true, 'one client is one');
  assert.equal(await same(port, ['127.0.0.14', forged('203.0.113.1')], ['127.0.0.14', forged('203.0.113.2')]), true, 'what a client writes itself is not believed');
}

const trusting = (more = '') => OPEN.replace('[server]', `[server]\ntrusted_proxies = ["127.0.0.1"]\n${more}`) + LIMITS;
const x = (address) => ({ 'x-forwarded-for': address });
const standard = (address) => ({ forwarded: `for=${address}` });

test('nginx: X-Forwarded-For', async (t) => {
  const server = await omnivox(t, { settings: trusting() });
  const proxy = await nginx(t, server.port, { location: 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;' });
  await assertClientsAreKnown(proxy.port, x);
});

test('nginx: Forwarded', async (t) => {
  const server = await omnivox(t, { settings: trusting('proxy_headers = "forwarded"') });
  const proxy = await nginx(t, server.port, { location: 'proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=$scheme";' });
  await assertClientsAreKnown(proxy.port, standard);
});

test('HAProxy: X-Forwarded-For', async (t) => {
  const server = await omnivox(t, { settings: trusting() });
  const proxy = await haproxy(t, server.port, { backend: 'option forwardfor' });
  await assertClientsAreKnown(proxy.port, x);
});

for (const send of ['send-proxy', 'send-proxy-v2']) {
  test(`HAProxy: ${send}`, async (t) => {
    // The PROXY protocol is an address's own matter: the plain one beside it is for this test's questions.
    const port = await freePort();
    const settings = trusting(`proxy_protocol = ["127.0.0.1:${port}"]`).replace('["127.0.0.1:0"]', `["127.0.0.1:0", "127.0.0.1:${port}"]`);
    await omnivox(t, { settings });
    const proxy = await haproxy(t, port, { server: send });
    await assertClientsAreKnown(proxy.port, x);
  });
}
