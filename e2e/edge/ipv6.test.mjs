// IPv6: every transport on [::1], the same port on both families, TLS, and the command line.
// parts: openssl

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificate, tlsSection } from '../lib/certificates.mjs';
import { connect, stream } from '../lib/clients.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { freePort, program } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

test('both families on one port share all channels', async (t) => {
  const port = await freePort();
  const settings = OPEN.replace('["127.0.0.1:0"]', `["127.0.0.1:${port}", "[::1]:${port}"]`);
  const server = await omnivox(t, { settings });
  await server.printed(new RegExp(`listening on http://\\[::1\\]:${port}`));
  const six = `http://[::1]:${port}`;
  const [four, socket] = [await connect(t, server.ws), await connect(t, `ws://[::1]:${port}/v1/ws`)];
  await four.subscribe('both');
  await socket.subscribe('both');
  const events = await stream(t, `${six}/v1/sse?channel=both`);
  const { last } = await (await fetch(`${six}/v1/poll?channel=both&timeout=0`)).json();
  const held = fetch(`${six}/v1/poll?channel=both&last=${last}&timeout=20`);
  const publisher = program(t, BINARY, ['publish', 'both', '"over six"', '--url', six], { env: cleanEnvironment() });
  assert.equal((await publisher.ended).code, 0, publisher.output);
  for (const client of [four, socket]) assert.equal((await client.next({ type: 'message' })).data, 'over six');
  assert.equal((await events.inbox.next()).data.data, 'over six');
  assert.deepEqual((await (await held).json()).events.map(({ data }) => data), ['over six']);
});

test('TLS on [::1], for the command line', async (t) => {
  const files = certificate(t);
  const server = await omnivox(t, { settings: `${OPEN}${tlsSection(files, '[::1]:0')}` });
  const [, url] = await server.printed(/listening on (https:\/\/\[::1\]:\d+)/);
  const publisher = program(t, BINARY, ['publish', 'a', '1', '--url', url, '--ca', files.certificate], { env: cleanEnvironment() });
  assert.equal((await publisher.ended).code, 0, publisher.output);
  const subscriber = program(t, BINARY, ['subscribe', 'a', '--since', 'earliest', '--count', '1', '--url', url, '--ca', files.certificate], { env: cleanEnvironment() });
  assert.equal((await subscriber.ended).code, 0, subscriber.output);
});

test('an address of IPv6 counts by its /64, and a proxy may name one', async (t) => {
  const limits = '\n[limits]\nrequests_per_address_per_second_max = 1\n';
  const settings = `${OPEN.replace('["127.0.0.1:0"]', '["127.0.0.1:0", "[::1]:0"]\ntrusted_proxies = ["127.0.0.1", "::1"]')}${limits}`;
  const server = await omnivox(t, { settings });
  const [, six] = await server.printed(/listening on (http:\/\/\[::1\]:\d+)/);
  const status = async (address) => (await fetch(`${six}/health`, { headers: { 'x-forwarded-for': address } })).status;
  const same = async (one, other) => {
    for (;;) {
      const begun = performance.now();
      await status(one);
      if ((await status(other)) === 429) return true;
      if (performance.now() - begun < 900) return false;
    }
  };
  assert.equal(await same('2001:db8:0:1::1', '[2001:db8:0:1:ffff::2]:4711'), true);
  assert.equal(await same('2001:db8:0:2::1', '2001:db8:0:3::1'), false);
});
