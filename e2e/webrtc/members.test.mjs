// Two members that are no browsers (aiortc, with requests and polls) exchange video frames and messages over our relay and nothing else.
// parts: python, openssl
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificate, relaySection } from '../lib/certificates.mjs';
import { member } from '../lib/members.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';

for (const over of ['udp', 'tcp', 'tls']) {
  test(`relay to relay over ${over}`, async (t) => {
    const files = certificate(t);
    const server = await omnivox(t, { settings: `${OPEN}${relaySection(files)}` });
    const args = ['--policy', 'relay', '--over', over];
    const names = ['Ana', 'Bob'];
    const [ana, bob] = names.map((name) => member(t, { url: server.url, name, peers: 1, args, env: { SSL_CERT_FILE: files.certificate } }));
    const [from, to] = await Promise.all([ana.done(), bob.done()]);
    assert.deepEqual(from, [{ name: 'Bob', heard: 'hi from Bob', local: 'relay', remote: 'relay' }]);
    assert.deepEqual(to, [{ name: 'Ana', heard: 'hi from Ana', local: 'relay', remote: 'relay' }]);
    assert.ok(await server.metric('omnivox_turn_allocations') >= 2, 'the relay is ours');
    await ana.leave();
    await bob.leave();
    const { json } = await server.get('/v1/presence?channel=meeting');
    assert.deepEqual(json.members, [], 'who left is seen no more');
  });
}
